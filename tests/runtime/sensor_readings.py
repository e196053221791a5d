"""Real readings, as kernels, firmware and users published them, laid out as trees below a root of their own.

Sources: kernel.org (thermal/sysfs-api, hwmon/ina3221, hwmon/coretemp, accounting/psi, powercap, ABI for supplies),
raspberrypi.com (vcgencmd), github.com/jfikar/RPi5-power (the PMIC's output), NVIDIA's forums (INA3221 under L4T 32 and
36), coral.ai and the gasket driver (apex), bug reports of RAPL users.
"""

from __future__ import annotations

from pathlib import Path

PMIC = """\
 3V7_WL_SW_A current(0)=0.00000000A
   3V3_SYS_A current(1)=0.06245952A
   1V8_SYS_A current(2)=0.16102850A
  DDR_VDD2_A current(3)=0.00780744A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.17566740A
    0V8_SW_A current(6)=0.32791250A
  VDD_CORE_A current(7)=10.87674000A
   3V3_DAC_A current(17)=0.00036630A
   3V3_ADC_A current(18)=0.00042735A
   0V8_AON_A current(16)=0.00579975A
      HDMI_A current(22)=0.01367520A
 3V7_WL_SW_V volt(8)=3.79999600V
   3V3_SYS_V volt(9)=3.30632200V
   1V8_SYS_V volt(10)=1.79828900V
  DDR_VDD2_V volt(11)=1.10292900V
  DDR_VDDQ_V volt(12)=0.60476130V
   1V1_SYS_V volt(13)=1.10439400V
    0V8_SW_V volt(14)=0.80256330V
  VDD_CORE_V volt(15)=0.89745940V
   3V3_DAC_V volt(20)=3.30494200V
   3V3_ADC_V volt(21)=3.30219400V
   0V8_AON_V volt(19)=0.79736190V
      HDMI_V volt(23)=5.07056000V
     EXT5V_V volt(24)=5.06788000V
      BATT_V volt(25)=3.01110800V
"""
PSI = """\
some avg10=14.13 avg60=10.68 avg300=8.90 total=18885617822
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
MEMINFO = """\
MemTotal:         440400 kB
MemFree:           83724 kB
MemAvailable:     252148 kB
Buffers:           26452 kB
"""
STAT = """\
cpu  10132153 290696 3084719 46828483 16683 0 25195 0 0 0
cpu0 1393280 32966 572056 13343292 6130 0 17875 0 0 0
intr 199292
"""
BATTERY = """\
POWER_SUPPLY_NAME=BAT0
POWER_SUPPLY_TYPE=Battery
POWER_SUPPLY_STATUS=Discharging
POWER_SUPPLY_PRESENT=1
POWER_SUPPLY_TECHNOLOGY=Li-poly
POWER_SUPPLY_CYCLE_COUNT=0
POWER_SUPPLY_VOLTAGE_MIN_DESIGN=11550000
POWER_SUPPLY_VOLTAGE_NOW=11842000
POWER_SUPPLY_POWER_NOW=6277000
POWER_SUPPLY_ENERGY_FULL_DESIGN=57000000
POWER_SUPPLY_ENERGY_FULL=50980000
POWER_SUPPLY_ENERGY_NOW=31390000
POWER_SUPPLY_CAPACITY=61
POWER_SUPPLY_CAPACITY_LEVEL=Normal
"""
MAINS = "POWER_SUPPLY_NAME=AC\nPOWER_SUPPLY_TYPE=Mains\nPOWER_SUPPLY_ONLINE=0\n"
MOUSE = """\
POWER_SUPPLY_NAME=hidpp_battery_0
POWER_SUPPLY_TYPE=Battery
POWER_SUPPLY_ONLINE=1
POWER_SUPPLY_STATUS=Discharging
POWER_SUPPLY_SCOPE=Device
POWER_SUPPLY_CAPACITY=95
"""
FREQUENCY = {"sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n"}
LINUX = {"proc/pressure/cpu": PSI, "proc/meminfo": MEMINFO, "proc/stat": STAT}


def zones(**types: str) -> dict[str, str]:
    """Return thermal zones: type (`_` for `-`) -> its temperature."""
    made = {}
    for number, (kind, reading) in enumerate(types.items()):
        made[f"sys/class/thermal/thermal_zone{number}/type"] = kind.replace("_", "-") + "\n"
        made[f"sys/class/thermal/thermal_zone{number}/temp"] = reading + "\n"
    return made


def pi(throttled: str, soc: str = "soc") -> dict[str, str]:
    folder = f"sys/devices/platform/{soc}/{soc}:firmware"
    return {
        f"{folder}/get_throttled": throttled,
        **zones(cpu_thermal="48312"),
        **FREQUENCY,
        **LINUX,
    }


def hwmon(number: int, name: str, **files: str) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    return {
        f"{folder}/name": name + "\n",
        **{f"{folder}/{file}": text + "\n" for file, text in files.items()},
    }


INA3221 = {
    **hwmon(0, "tmp451", temp1_input="41000", temp2_input="43125"),
    **hwmon(
        1, "ina3221",
        in1_label="VDD_IN", in1_input="5064", curr1_input="1016",
        in2_label="VDD_CPU_GPU_CV", in2_input="5064", curr2_input="128",
        in3_label="VDD_SOC", in3_input="5056", curr3_input="288",
        in7_label="sum of shunt voltages", in7_input="7160",
    ),
}  # fmt: skip
L4T32 = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
JETSON_NANO = {
    f"{L4T32}/rail_name_0": "POM_5V_IN\n",
    f"{L4T32}/in_power0_input": "2208\n",
    f"{L4T32}/rail_name_1": "POM_5V_GPU\n",
    f"{L4T32}/in_power1_input": "0\n",
    f"{L4T32}/rail_name_2": "POM_5V_CPU\n",
    f"{L4T32}/in_power2_input": "372\n",
    "sys/class/thermal/thermal_zone0/type": "AO-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "40500\n",
    "sys/class/thermal/thermal_zone1/type": "CPU-therm\n",
    "sys/class/thermal/thermal_zone1/temp": "33500\n",
    "sys/class/thermal/thermal_zone2/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone2/temp": "32000\n",
    "sys/class/thermal/thermal_zone4/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone4/temp": "100000\n",
}
CORETEMP = hwmon(
    3, "coretemp",
    temp1_label="Package id 0", temp1_input="45000", temp1_max="100000", temp1_crit="100000",
    temp2_label="Core 0", temp2_input="43000", temp3_label="Core 1", temp3_input="45000",
)  # fmt: skip
K10TEMP = hwmon(
    2, "k10temp", temp1_label="Tctl", temp1_input="52375", temp3_label="Tccd1", temp3_input="49000"
)
RAPL = {
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "2469474853\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
}
PACKAGE_ZONE = {
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "27800\n",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone1/temp": "46000\n",
}
SUPPLIES = {
    "sys/class/power_supply/AC/uevent": MAINS,
    "sys/class/power_supply/BAT0/uevent": BATTERY,
    "sys/class/power_supply/hidpp_battery_0/uevent": MOUSE,
}

BOARDS: dict[str, dict[str, str]] = {
    "raspberry-pi-zero-2w": pi("0\n"),
    "raspberry-pi-3": pi("50005\n"),
    "raspberry-pi-4": pi("50000\n"),
    "raspberry-pi-5": pi("80008\n", "soc@107c000000"),
    "coral-usb-raspberry-pi": pi("20002\n"),
    "jetson-nano": {**JETSON_NANO, **FREQUENCY, **LINUX},
    "jetson-orin-nano": {**INA3221, **zones(cpu_thermal="47187", gpu_thermal="46500", tj_thermal="47187"),
                         **FREQUENCY, **LINUX},
    "coral-dev-board": {"sys/class/apex/apex_0/temp": "50300\n", **zones(cpu_thermal="54000"), **FREQUENCY, **LINUX},
    "coral-m2-x86-64": {"sys/class/apex/apex_0/temp": "42800\n", **CORETEMP, **RAPL, **LINUX},
    "imx93-evk": {**zones(cpu_thermal="39000"), **FREQUENCY, **LINUX},
    "rock-5b": {**zones(package_thermal="38846", bigcore0_thermal="37923", bigcore2_thermal="37923"),
                "sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq": "2256000\n", **LINUX},
    "x86-64-linux": {**CORETEMP, **RAPL, **SUPPLIES, **FREQUENCY, **LINUX},
    "host": {**CORETEMP, **PACKAGE_ZONE, **RAPL, **SUPPLIES, **FREQUENCY, **LINUX},
    "aarch64-linux": {**zones(cpu_thermal="44000"), **FREQUENCY, **LINUX},
    "aarch64-linux-older": {**zones(cpu_thermal="44000"), **FREQUENCY, **LINUX},
    "armv7-linux": LINUX,
    "gpu-linux-aarch64": {**zones(cpu_thermal="44000"), **FREQUENCY, **LINUX},
    "gpu-linux-x86-64": {**CORETEMP, **RAPL, **SUPPLIES, **FREQUENCY, **LINUX},
}  # fmt: skip
"""Target -> what a board of it says."""

PI = {"soc-temperature": 48.312, "cpu-frequency": 1.5e9}
SAID: dict[str, dict[str, object]] = {
    "raspberry-pi-zero-2w": {**PI, "throttled": ()},
    "raspberry-pi-3": {**PI, "throttled": ("under-voltage", "throttled")},
    "raspberry-pi-4": {**PI, "throttled": ()},
    "raspberry-pi-5": {**PI, "throttled": ("soft-temperature-limit",)},
    "coral-usb-raspberry-pi": {**PI, "throttled": ("frequency-capped",)},
    "jetson-nano": {"cpu-temperature": 33.5, "gpu-temperature": 32.0, "board-power": 2.208},
    "jetson-orin-nano": {"cpu-temperature": 47.187, "junction-temperature": 47.187, "board-power": 5.145024},
    "coral-dev-board": {"edgetpu-temperature": 50.3, "soc-temperature": 54.0},
    "coral-m2-x86-64": {"edgetpu-temperature": 42.8, "cpu-temperature": 45.0, "package-energy": 5.0},
    "imx93-evk": {"soc-temperature": 39.0, "cpu-frequency": 1.5e9},
    "rock-5b": {"bigcore-temperature": 37.923, "package-temperature": 38.846, "cpu-frequency": 2.256e9},
    "x86-64-linux": {"cpu-temperature": 45.0, "package-energy": 5.0, "battery": 61.0, "battery-power": 6.277},
    "host": {"cpu-temperature": 45.0, "zone-temperature": 46.0, "battery": 61.0, "package-energy": 5.0},
    "aarch64-linux": {"soc-temperature": 44.0, "cpu-pressure": 0.1413},
    "armv7-linux": {"cpu-pressure": 0.1413, "memory-available": 252148.0 * 1024},
}
"""Target -> readings that follow from its tree; whatever is not named must be known all the same."""


def tree(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
