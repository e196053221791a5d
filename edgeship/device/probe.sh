# Tells facts of a device as KEY=VALUE lines, the same key again for each item of a list. POSIX sh; what a device
# lacks is left out, never guessed. $1: the device root, whose nearest existing folder is looked at; $2: root, where it
# is to be looked at as root; $3: the application, or nothing; $4: the Python to tell of, python3 where none is named.
LC_ALL=C; export LC_ALL
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"; export PATH
say() { [ -n "$2" ] && printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '\r' | tr '\n\0' '  ')"; }
has() { command -v "$1" >/dev/null 2>&1; }
first() { "$@" 2>/dev/null </dev/null | head -n 1; }

say probe 1
say hostname "$(first uname -n)"
say machine "$(first uname -m)"
say uid "$(first id -u)"
say user "$(first id -un)"
if [ "$(id -u)" = 0 ]; then say sudo yes
elif has sudo && sudo -n true </dev/null >/dev/null 2>&1; then say sudo yes
else say sudo no; fi
say clock "$(date +%s)"
[ -r /proc/sys/kernel/random/boot_id ] && say boot_id "$(cat /proc/sys/kernel/random/boot_id)"

glibc=$(first getconf GNU_LIBC_VERSION)
if [ -n "$glibc" ]; then say libc "$glibc"
else
  for loader in /lib/ld-musl-*.so.1; do
    [ -e "$loader" ] && say libc "musl $("$loader" 2>&1 </dev/null | sed -n 's/^Version //p')" && break
  done
fi
bits=$(first getconf LONG_BIT)
[ -z "$bits" ] && has od && case "$(od -An -t u1 -j 4 -N 1 /bin/sh 2>/dev/null | tr -d ' ')" in 1) bits=32;; 2) bits=64;; esac
say bits "$bits"

if [ -r /proc/device-tree/model ]; then say model "$(tr -d '\0' </proc/device-tree/model)"
else say model "$(sed -n 's/^model name[[:space:]]*: //p;s/^Model[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"; fi
say cpus "$(grep -c '^processor' /proc/cpuinfo 2>/dev/null)"
say flags "$(sed -n 's/^[Ff]eatures[[:space:]]*: //p;s/^flags[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
say memory_kb "$(sed -n 's/^MemTotal:[[:space:]]*\([0-9]*\).*/\1/p' /proc/meminfo 2>/dev/null)"
say available_kb "$(sed -n 's/^MemAvailable:[[:space:]]*\([0-9]*\).*/\1/p' /proc/meminfo 2>/dev/null)"
if [ -d /run/systemd/system ]; then say init systemd
elif [ -e /run/openrc/softlevel ]; then say init openrc
else say init other; fi
# BusyBox has a crond too; it reads no /etc/cron.d and knows no @reboot.
[ -d /etc/cron.d ] && for name in cron crond; do
  has $name && case "$(readlink -f "$(command -v $name)")" in */busybox) ;; *) say cron yes;; esac
done
[ -r /etc/os-release ] && sed -n 's/^\(ID\|VERSION_ID\|PRETTY_NAME\|VERSION_CODENAME\)="\{0,1\}\([^"]*\)"\{0,1\}$/os.\1=\2/p' /etc/os-release

root=$1; near=$root
while [ ! -e "$near" ] && [ "$near" != / ] && [ -n "$near" ]; do near=${near%/*}; [ -z "$near" ] && near=/; done
say root_near "$near"
[ -d "$near" ] || say root_problem "$near is not a folder"
tool=""; [ "$2" = root ] && [ "$(id -u)" != 0 ] && tool="sudo -n"
mark="$near/.edgeship-probe-$$"
if $tool sh -c ': >"$1" && rm -f "$1"' sh "$mark" >/dev/null 2>&1; then say root_writable yes; else
  say root_writable no
  say root_error "$($tool sh -c ': >"$1"' sh "$mark" 2>&1 | tail -n 1)"
fi
# What lies below the root already: a store on another disk cannot be linked from, and `current` must be a link.
[ -d "$root" ] && $tool sh -c '
  on() { at=$1; while [ ! -e "$at" ]; do at=${at%/*}; done; stat -L -c "%d $at" "$at"; }
  echo "store_device=$(on "$1/cas")"; echo "releases_device=$(on "$1/apps/$2/releases")"
  current=$1/apps/$2/current; [ -n "$2" ] && [ -e "$current" ] && [ ! -L "$current" ] && echo "current_problem=$current"
' sh "$root" "$3" 2>/dev/null </dev/null
say disk_free_kb "$(df -Pk "$near" 2>/dev/null | awk 'NR==2{print $4}')"
say inodes_free "$(df -Pi "$near" 2>/dev/null | awk 'NR==2{print $4}')"
# the mount that holds the folder: the longest mount point that is a prefix of it; the last one mounted there wins
awk -v path="$near" '{
    at = $5; rest = ""; for (i = 7; i <= NF; i++) if ($i == "-") { kind = $(i + 1); rest = $(i + 3); break }
    if ((path == at || index(path, (at == "/" ? at : at "/")) == 1) && length(at) >= best) { best = length(at); k = kind; o = rest; f = $6 }
  } END { if (k) { print "root_fs=" k; print "root_mount_flags=" f
      if (match(o, /upperdir=[^,]*/)) print "root_upper=" substr(o, RSTART + 9, RLENGTH - 9) } }' /proc/self/mountinfo 2>/dev/null
awk '{ for (i = 7; i <= NF; i++) if ($i == "-") { print "mount=" $5 " " $(i + 1); break } }' /proc/self/mountinfo 2>/dev/null | grep -v '^mount=/proc\|^mount=/sys\|^mount=/dev' | head -n 40

for path in /dev/apex_* /dev/dri/renderD* /dev/nvhost-gpu /dev/nvidia0 /dev/kfd /dev/ethosu* /dev/rknpu /dev/vha0 /dev/accel/accel*; do
  [ -e "$path" ] && say device "$path"
done
for dir in /sys/bus/usb/devices/*; do
  [ -r "$dir/idVendor" ] && case "$(cat "$dir/idVendor"):$(cat "$dir/idProduct")" in
    1a6e:089a|18d1:9302) say device "usb:$(cat "$dir/idVendor"):$(cat "$dir/idProduct")";; esac
done
for dir in /sys/bus/pci/devices/*; do
  [ -r "$dir/vendor" ] && [ "$(cat "$dir/vendor")" = 0x1ac1 ] && say device "pci:1ac1:$(cut -c3- "$dir/device")"
done
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] && say sensor "$(cat "$zone/type" 2>/dev/null) $zone/temp"
done
for name in libedgetpu.so.1 libOpenCL.so.1 libEGL.so.1 libGLESv2.so.2 libusb-1.0.so.0 libstdc++.so.6 libgcc_s.so.1; do
  for dir in /usr/lib /lib /usr/local/lib /usr/lib64 /usr/lib/*-linux-gnu* /lib/*-linux-gnu*; do
    [ -e "$dir/$name" ] && say library "${name%%.so*} $dir/$name" && break
  done
done

has dpkg-query && for name in libedgetpu1-std libedgetpu1-max; do
  version=$(dpkg-query -W -f '${Status} ${Version}' $name 2>/dev/null | sed -n 's/^install ok installed //p')
  [ -n "$version" ] && say package "$name $version"
done

python=${4:-python3}
if has "$python"; then
  say python "$("$python" -I -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null)"
  say python_path "$(command -v "$python")"
  "$python" -I -c '
import importlib.util, struct
print("python_bits=%d" % (struct.calcsize("P") * 8))
try:
    from importlib import metadata
except ImportError:
    metadata = None
for name, dist in (("numpy", "numpy"), ("tflite_runtime", "tflite-runtime"), ("ai_edge_litert", "ai-edge-litert"), ("pycoral", "pycoral")):
    if importlib.util.find_spec(name):
        try:
            version = metadata.version(dist) if metadata else "present"
        except Exception:
            version = "present"
        print("library=%s %s" % (name, version))
' 2>/dev/null </dev/null
fi
say end 1
