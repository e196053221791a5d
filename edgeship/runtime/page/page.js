// The page of a service. It asks that very service and nobody else, at relative addresses.
'use strict';

const $ = id => document.getElementById(id);
const POLL = 2000, TOP = 5, MOST_PIXELS = 16e6, MOST_EXAMPLE = 200000, SURE = 0.3, SHARED = 0.6;
let facts, model, variant, rung, base, before, stream, last, again, timer, work = Promise.resolve();

const figure = v => Math.abs(v) >= 1000 ? whole(v) : String(+v.toPrecision(3));
const whole = v => Math.round(v).toLocaleString('en');
const size = n => n < 1e6 ? figure(n / 1e3) + ' kB' : figure(n / 1e6) + ' MB';
const time = ms => ms < 1e3 ? figure(ms) + ' ms' : ms < 1e5 ? figure(ms / 1e3) + ' s' : ms < 6e6 ? whole(ms / 6e4) + ' min' : whole(ms / 36e5) + ' h';
const percent = v => Math.round(100 * v) + ' %';
const count = shape => shape.reduce((a, b) => a * b, 1);
const known = (value, words) => typeof value === 'number' ? words(value) : '';

function put(parent, tag, text = '', name = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  parent.append(made);
  return made;
}

// --- asking

async function ask(path, options, seconds = 10) {
  const stop = new AbortController(), limit = setTimeout(() => stop.abort(), 1000 * seconds);
  try {
    const answer = await fetch(path, {...options, signal: stop.signal, cache: 'no-cache'});
    return {status: answer.status, headers: answer.headers, data: await answer.arrayBuffer()};
  } catch (error) {
    throw Error(stop.signal.aborted ? `No answer within ${seconds} s.` : 'The service does not answer: it was stopped, or the network to it is gone.');
  } finally { clearTimeout(limit); }
}

const decoded = data => new TextDecoder().decode(data);

function parsed(text) {
  try { return JSON.parse(text); } catch (e) { return {error: text.slice(0, 300)}; }
}

function refused(answer) {
  const wait = answer.headers.get('retry-after'), status = answer.status;
  const what = status === 503 ? 'The service cannot serve it now' : status >= 500 ? 'The service failed' : 'The service does not take that';
  return Error(`${what} (${status}): ${parsed(decoded(answer.data)).error}${wait ? `\nTry again in ${wait} s.` : ''}`);
}

async function text(path) {
  const answer = await ask(path);
  if (answer.status !== 200) throw refused(answer);
  return decoded(answer.data);
}
const json = async path => parsed(await text(path));

// Outputs come as classes by name, or real numbers as bytes.
const named = spec => facts.classes && count(spec.shape) === facts.classes.count && spec.shape[spec.shape.length - 1] === facts.classes.count;
const wanted = bytes => model.outputs.map(o => ({name: o.name, parameters: named(o) ? {classification: facts.classes.count} : {binary_data: bytes && o.datatype === 'FP32'}}));

async function infer(body, headers) {
  const begun = performance.now(), answer = await ask(base + '/infer', {method: 'POST', body, headers}, 60);
  if (answer.status !== 200) throw refused(answer);
  const length = +answer.headers.get('inference-header-content-length') || answer.data.byteLength;
  const told = parsed(decoded(answer.data.slice(0, length)));
  let at = length;
  for (const output of told.outputs) {
    const bytes = (output.parameters || {}).binary_data_size;
    if (bytes) output.data = Array.from(new Float32Array(answer.data.slice(at, at += bytes)));
  }
  told.ms = performance.now() - begun;
  return told;
}

// --- pictures

// What the variant that serves takes as a picture: where the build knew, and the service says the same.
function picture() {
  const p = (facts.variants[variant] || facts.variants[model.parameters.variant] || {}).picture, spec = model.inputs[0];
  return p && spec.name === p.input && String(spec.shape) === String([1, p.height, p.width, p.channels]) ? p : null;
}

// RGBA bytes as they stand in the file, of the middle that has the proportions `cut`, or of all.
function pixels(source, width, height, cut) {
  const w = cut ? Math.min(width, Math.round(height * cut)) : width, h = cut ? Math.min(height, Math.round(width / cut)) : height;
  const box = [(width - w) >> 1, (height - h) >> 1, w, h], by = Math.min(1, Math.sqrt(MOST_PIXELS / (w * h)));
  const canvas = document.createElement('canvas'), W = canvas.width = Math.round(w * by) || 1, H = canvas.height = Math.round(h * by) || 1;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.drawImage(source, ...box, 0, 0, W, H);
  return {data: pen.getImageData(0, 0, W, H).data, width: W, height: H, box};
}

// Gray as Pillow makes it (ITU-R BT.601 in 16 bits); transparency is dropped.
function channels(rgba, number) {
  const out = new Uint8Array(rgba.length / 4 * number);
  for (let i = 0, k = 0; i < rgba.length; i += 4) {
    if (number === 1) out[k++] = (19595 * rgba[i] + 38470 * rgba[i + 1] + 7471 * rgba[i + 2] + 32768) >> 16;
    else for (let c = 0; c < number; c++) out[k++] = rgba[i + c];
  }
  return out;
}

// Where a new pixel begins in the old size, and the weights from there; half-pixel centres, as in the service.
const TAPS = {
  nearest: (from, i, by) => [Math.min(Math.floor((i + 0.5) * by), from - 1), [1]],
  bilinear(from, i, by) {
    const at = Math.min(Math.max((i + 0.5) * by - 0.5, 0), from - 1), first = Math.floor(at);
    return [first, first + 1 < from ? [1 - (at - first), at - first] : [1]];
  },
  smooth(from, i, by) {  // Pillow's BILINEAR: a triangle over all that the new pixel covers
    const wide = Math.max(by, 1), at = (i + 0.5) * by, first = Math.max(0, Math.floor(at - wide + 0.5)), w = [];
    for (let x = first; x < Math.min(from, Math.floor(at + wide + 0.5)); x++) w.push(Math.max(0, 1 - Math.abs(x - at + 0.5) / wide));
    return [first, w.map(v => v / w.reduce((a, b) => a + b))];
  },
};
const up = v => Math.floor(v + 0.5);
const even = v => up(v) - v === 0.5 && up(v) % 2 ? up(v) - 1 : up(v);

function resized(bytes, w, h, c, W, H, method) {
  if (w === W && h === H) return bytes;
  const taps = (from, to) => Array.from({length: to}, (_, i) => TAPS[method](from, i, from / to));
  const columns = taps(w, W), across = new Map(), out = new Uint8Array(W * H * c), between = method === 'smooth' ? up : v => v;
  const row = y => {
    const made = new Float64Array(W * c);
    for (let x = 0; x < W * c; x++) {
      const [first, weights] = columns[Math.floor(x / c)];
      let sum = 0, at = (y * w + first) * c + x % c;
      for (const v of weights) { sum += bytes[at] * v; at += c; }
      made[x] = between(sum);
    }
    return made;
  };
  taps(h, H).forEach(([first, weights], y) => {
    for (const old of across.keys()) if (old < first) across.delete(old);
    const lines = weights.map((_, i) => across.get(first + i) || across.set(first + i, row(first + i)).get(first + i));
    for (let x = 0; x < W * c; x++) out[y * W * c + x] = (method === 'smooth' ? up : even)(lines.reduce((sum, line, i) => sum + line[x] * weights[i], 0));
  });
  return out;
}

// The picture in the model's size, and the values that are sent of it.
function prepared(shot, p) {
  const bytes = resized(channels(shot.data, p.channels), shot.width, shot.height, p.channels, p.width, p.height, p.resize);
  return {bytes, values: p.datatype === 'UINT8' ? bytes : Float32Array.from(bytes, v => v * p.scale + p.offset)};
}

async function look(source, width, height) {
  const p = picture(), live = stream, shot = pixels(source, width, height, $('fit').value && p.width / p.height), {bytes, values} = prepared(shot, p);
  const head = new TextEncoder().encode(JSON.stringify({
    inputs: [{name: p.input, datatype: p.datatype, shape: [1, p.height, p.width, p.channels], parameters: {binary_data_size: values.byteLength}}],
    outputs: wanted(true),
  }));
  const told = await infer(new Blob([head, values]), {'Inference-Header-Content-Length': head.length});
  if (live !== stream) return;
  const by = Math.min(1, 960 / Math.max(width, height)), shown = Object.assign($('shown'), {width: width * by || 1, height: height * by || 1});
  shown.getContext('2d').drawImage(source, 0, 0, shown.width, shown.height);
  const image = new ImageData(p.width, p.height);
  image.data.forEach((_, i) => { image.data[i] = i % 4 === 3 ? 255 : bytes[(i >> 2) * p.channels + (p.channels > 1 ? i % 4 : 0)]; });
  Object.assign($('seen'), {width: p.width, height: p.height}).getContext('2d').putImageData(image, 0, 0);
  $('seen-note').textContent = `What the model is given: ${p.width} × ${p.height}, ${p.basis}.`;
  $('look').hidden = false;
  present(told, {...shot, by});
}

// --- the answer

function present(told, shot) {
  const made = document.createDocumentFragment(), place = $('result'), {variant: by, reason} = told.parameters;
  last = told;
  if (shot && facts.boxes) draw(boxes(told.outputs), shot, made);
  else for (const output of told.outputs) {
    if (told.outputs.length > 1) put(made, 'h3', output.name);
    (output.datatype === 'BYTES' ? bars : numbers)(made, output);
  }
  put(made, 'p', `Answered in ${time(told.ms)}, there and back, by ${by}${reason ? ` (${reason})` : ''}.`, 'quiet');
  place.setAttribute('aria-live', stream ? 'off' : 'polite');
  place.replaceChildren(made);
  $('whole').hidden = false;
  tell();
}

function tell() {
  if ($('whole').open) $('answer').textContent = JSON.stringify(last, (_, v) => Array.isArray(v) && v.length > 1000 ? [...v.slice(0, 1000), `and ${v.length - 1000} more`] : v);
}

function bars(place, output) {
  const entries = output.data.map(text => /^([^:]*):(\d+):?(.*)$/s.exec(text) || [0, NaN, 0, text]).map(([, v, k, label]) => ({label: label || `class ${k}`, value: +v}));
  const shares = Math.abs(entries.reduce((a, e) => a + e.value, 0) - 1) < 0.03 && entries.every(e => e.value >= 0);
  const most = shares ? 1 : Math.max(...entries.map(e => Math.abs(e.value))), list = put(place, 'ol');
  for (const {label, value} of entries.slice(0, TOP)) {
    const item = put(list, 'li');
    put(item, 'span', label);
    put(put(item, 'span'), 'i').style.width = 100 * Math.max(0, value / most) + '%';
    put(item, 'b', shares ? (100 * value).toFixed(1) + ' %' : figure(value));
  }
  const more = entries.length > TOP ? `The first ${TOP} of ${entries.length}. ` : '';
  put(place, 'p', more + (shares ? 'How sure the model says it is.' : 'Values as the model gives them, no percentages.'), 'quiet');
}

function numbers(place, output) {
  const data = output.data.flat(9).map(Number), n = data.length, [low, high] = data.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  put(place, 'p', n > 1 ? `${output.shape.join(' × ')} numbers, ${figure(low)} to ${figure(high)}:` : 'One number:');
  put(place, 'pre', data.slice(0, 100).map(figure).join('  ') + (n > 100 ? `  and ${whole(n - 100)} more` : '')).tabIndex = 0;
}

// Corners are fractions of what the model was given; forms as in edgeship/score/detections.py.
function boxes(outputs) {
  const form = facts.boxes, p = picture(), found = [], data = outputs[0].data;
  if (form.lists) {
    let [classes, scores] = form.lists.map(k => outputs[k].data);
    if (!classes.every(Number.isInteger)) [classes, scores] = [scores, classes];
    const n = form.count === null ? scores.length : Math.min(outputs[form.count].data[0], scores.length);
    for (let i = 0; i < n; i++) found.push({box: [1, 0, 3, 2].map(k => outputs[form.boxes].data[4 * i + k]), label: classes[i], score: scores[i]});
  } else {
    const [a, b] = outputs[0].shape.slice(1), [rows, columns] = form.turned ? [b, a] : [a, b];
    const at = (i, k) => data[form.turned ? k * rows + i : i * columns + k];
    const logits = data.some((v, k) => (form.turned ? Math.floor(k / rows) : k % columns) > 3 && (v < 0 || v > 1)), share = v => logits ? 1 / (1 + Math.exp(-v)) : v;
    for (let i = 0; i < rows; i++) {
      const [x, y, w, h, score] = [0, 1, 2, 3, 4].map(c => at(i, c));
      let best = 4 + form.sure;
      for (let c = best; c < columns; c++) if (at(i, c) > at(i, best)) best = c;
      found.push({box: [x - w / 2, y - h / 2, x + w / 2, y + h / 2], label: best - 4 - form.sure, score: share(at(i, best)) * (form.sure ? share(score) : 1)});
    }
  }
  if (found.some(o => o.box.some(v => Math.abs(v) > 2))) for (const o of found) o.box = o.box.map((v, k) => v / (k % 2 ? p.height : p.width));
  const kept = [];
  for (const o of found.filter(o => o.score >= SURE).sort((a, b) => b.score - a.score).slice(0, 300)) {
    if (form.lists || kept.every(k => k.label !== o.label || overlap(k.box, o.box) < SHARED)) kept.push(o);
  }
  return kept;
}

function overlap(a, b) {
  const side = k => Math.max(0, Math.min(a[k + 2], b[k + 2]) - Math.max(a[k], b[k])), area = c => (c[2] - c[0]) * (c[3] - c[1]), both = side(0) * side(1);
  return both / (area(a) + area(b) - both || 1);
}

function draw(found, shot, place) {
  const pen = $('shown').getContext('2d'), [x, y, w, h] = shot.box, high = Math.max(14, $('shown').width / 40), words = [];
  pen.font = `${high}px system-ui, sans-serif`;
  pen.lineWidth = high / 6;
  for (const o of found) {
    const [l, t, r, b] = o.box.map((v, k) => (k % 2 ? y + v * h : x + v * w) * shot.by), text = `${facts.labels[o.label] || `class ${o.label}`} ${percent(o.score)}`;
    pen.strokeStyle = pen.fillStyle = '#ff3b8d';
    pen.strokeRect(l, t, r - l, b - t);
    pen.fillRect(l, t, pen.measureText(text).width + 8, high * 1.3);
    pen.fillStyle = '#000';
    pen.fillText(text, l + 4, t + high);
    words.push(text);
  }
  put(place, 'p', words.length ? `Found: ${words.join(', ')}.` : `Nothing of which the model is ${percent(SURE)} sure.`);
}

// --- trying

function problem(error) {
  const place = document.createDocumentFragment();
  put(place, 'p', error.message, 'problem');
  $('result').setAttribute('aria-live', 'assertive');
  $('result').replaceChildren(place);
}

const busy = on => $('result').setAttribute('aria-busy', on);
const next = job => { work = work.then(() => busy(true)).then(job).catch(problem).then(() => busy(false)); };

const open = file => file && picture() && next(async () => {
  stopCamera();
  const image = await createImageBitmap(file, {imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none'})
    .catch(() => createImageBitmap(file))  // older browsers
    .catch(() => { throw Error(`${file.name || 'That'} is no picture that this browser can read.`); });
  again = () => look(image, image.width, image.height);
  await again();
});

async function startCamera() {
  try { stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment', width: {ideal: 640}}}); }
  catch (e) { return problem(Error(`The camera cannot be used: ${e.message}.`)); }
  const own = stream, video = Object.assign(document.createElement('video'), {muted: true, playsInline: true, srcObject: own});
  again = null;
  $('camera').textContent = 'Stop the camera';
  await video.play();
  while (stream === own) {
    const frame = await createImageBitmap(video);
    if (!document.hidden) await look(frame, frame.width, frame.height).catch(error => { stopCamera(); problem(error); });
    frame.close();
    await new Promise(done => setTimeout(done, 100));
  }
}

function stopCamera() {
  if (stream) for (const track of stream.getTracks()) track.stop();
  stream = null;
  $('camera').textContent = 'Use the camera';
}

async function send() {
  const text = $('text').value;
  try { JSON.parse(text); } catch (error) { throw Error(`That is no JSON: ${error.message}`); }
  stopCamera();
  $('look').hidden = true;
  present(await infer(text, {'Content-Type': 'application/json'}));
}

function example() {
  const total = model.inputs.reduce((a, s) => a + count(s.shape), 0);
  if (total > MOST_EXAMPLE) $('json-note').textContent = `A request holds ${whole(total)} numbers, too many for here: choose a file (README.txt in the bundle says how to make one).`;
  else $('text').value = JSON.stringify({
    inputs: model.inputs.map(({name, datatype, shape}) => ({name, datatype, shape, data: Array(count(shape)).fill(datatype === 'BOOL' ? false : 0)})),
    outputs: wanted(),
  });
}

function listen() {
  $('file').onchange = e => open(e.target.files[0]);
  $('fit').onchange = () => again && next(again);
  document.ondragover = document.ondragleave = document.ondrop = e => {
    e.preventDefault();
    $('drop').classList.toggle('over', e.type === 'dragover');
    if (e.type === 'drop') open(e.dataTransfer.files[0]);
  };
  document.onpaste = e => open(e.clipboardData.files[0]);
  if (!navigator.mediaDevices) {
    $('camera').disabled = true;
    $('camera-note').textContent = isSecureContext ? 'This browser offers none.' : 'Browsers give it only to pages from localhost or over https: reach this one through ssh -L.';
  }
  $('camera').onclick = () => stream ? stopCamera() : startCamera();
  $('send').onclick = () => next(send);
  $('json-file').onchange = e => next(async () => { $('text').value = await e.target.files[0].text(); await send(); });
  $('whole').ontoggle = tell;
  document.onvisibilitychange = watch;
}

// --- now

function tiles(entries, note) {
  const made = document.createDocumentFragment();
  for (const [name, value, about] of entries) if (value) {
    const tile = put(made, 'div');
    put(tile, 'dt', name);
    put(put(tile, 'dd', value), 'small', about);
  }
  $('tiles').replaceChildren(made);
  $('now-note').textContent = note;
}

function governor(told) {
  if (told.rung && told.rung !== variant) {
    variant = told.rung;
    rung = (told.rungs || []).find(r => r.variant === variant);
    tellFacts();
  }
  const unknown = [['temperature', told.temperature_c], ['power', told.watts]].filter(([, v]) => typeof v !== 'number').map(([k]) => k);
  tiles([
    ['Answer time', known(told.p50_ms, time), known(told.p95_ms, v => `95 of 100 within ${time(v)}`)],
    ['Load', known(told.load, percent), known(told.rate, v => `${figure(v)} requests a second`)],
    ['Serves now', variant, told.why || told.reason],
    ['Temperature', known(told.temperature_c, v => figure(v) + ' °C')],
    ['Power', known(told.watts, v => figure(v) + ' W'), told.joules_by],
    ['Too late', known(told.misses, whole), known(told.refused, v => `${whole(v)} refused`)],
    ...Object.entries(told.time_in_rung || {}).map(([name, s]) => ['Time in ' + name, time(1000 * s)]),
  ], [told.mode === 'off' ? 'The governor is off: nothing adapts.' : '', unknown.length ? `Not known here: ${unknown.join(', ')}.` : '', ...told.problems || []].join(' '));
}

function metrics(lines) {
  const m = {}, now = performance.now() / 1000, buckets = [];
  for (const line of lines.split('\n')) {
    const at = line.lastIndexOf(' '), name = line.slice(0, at), bound = /^edgeship_request_seconds_bucket.le="([0-9.]+)/.exec(name);
    m[name] = +line.slice(at);
    if (bound) buckets.push([+bound[1], m[name]]);
  }
  const n = m.edgeship_request_seconds_count, most = buckets.find(b => b[1] >= 0.95 * n), ran = m.edgeship_inference_seconds_sum, sum = m.edgeship_request_seconds_sum;
  const mean = !before ? sum / n : n > before.n ? (sum - before.sum) / (n - before.n) : before.mean;
  tiles([
    ['Answer time', n ? time(1000 * mean) : 'no request yet', n && most ? `since the start 95 of 100 within ${time(1000 * most[0])}` : ''],
    ['Load', before && ran >= before.ran ? percent(Math.min(1, (ran - before.ran) / (now - before.now))) : '', 'time that the engine works'],
    ['Serves now', variant],
    ['Requests', whole(n)],
    ['Waiting', String(m.edgeship_queue_depth), `${m.edgeship_queue_limit} may wait`],
    ['Memory', known(m.process_resident_memory_bytes, size)],
  ], `Started ${time(1000 * m.edgeship_uptime_seconds)} ago. This release has no governor: temperature and power are not known.`);
  before = {now, ran, n, sum, mean};
}

async function watch() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    if (facts.governor) governor(await json(base + '/governor'));
    else metrics(await text('metrics'));
    const ready = await ask('v2/health/ready');
    state(ready.status === 200 ? 'good' : 'bad', ready.status === 200 ? 'Ready' : `Not ready: ${parsed(decoded(ready.data)).error}`);
  } catch (error) { state('bad', `${error.message} Trying again.`); }
  timer = setTimeout(watch, POLL);
}

function state(kind, words) {
  $('state').className = kind;
  if ($('state').textContent !== words) $('state').textContent = words;
}

// --- what it is

const METRICS = {top1: 'right at first guess', top5: 'right among five guesses', auc: 'area under the ROC curve', map: 'mean average precision',
  map50: 'mean average precision at half overlap', mse: 'mean squared error', mae: 'mean absolute error'};

function accuracy(about) {
  if (!about) return rung && rung.accuracy ? `${(100 * rung.accuracy).toFixed(1)} %, ${rung.measure || 'as the build measured it'}.` : 'Not measured.';
  const {name, value, float} = about.metric, on = facts.measured_on, shown = v => /^(top|auc|map)/.test(name) ? v.toFixed(1) + ' %' : figure(v);
  const like = known(about.agreement, v => ` It answers as the uncompressed model for ${(100 * v).toFixed(1)} % of them.`);
  if (typeof value !== 'number') return `Not measured: ${value.unavailable}.${like}`;
  return `${shown(value)} ${METRICS[name] || name}${on ? `, measured on the ${whole(on.samples)} samples of ${on.data}` : ''}${known(float, v => `; the uncompressed model: ${shown(v)}`)}`
    + `${about.compiled ? '; before it was compiled for the accelerator' : ''}.${like} Other data may give other figures.`;
}

function tensor(spec, side) {
  const shape = spec.shape.length > 1 && spec.shape[0] === 1 ? spec.shape.slice(1) : spec.shape, p = side === 'in' && picture(), c = side === 'out' && named(spec) && facts.classes;
  const what = p ? `a picture, ${p.width} × ${p.height}, ${p.channels > 1 ? 'colour' : 'gray'}` : count(shape) > 1 ? `${shape.join(' × ')} numbers` : 'one number';
  return `${spec.name}: ${what} (${spec.datatype})${c ? `, one a class: ${c.first.join(', ')}${c.count > c.first.length ? ` and ${c.count - c.first.length} more` : ''}` : ''}`;
}

function tellFacts() {
  const about = facts.variants[variant], p = model.parameters, name = facts.name || facts.app;
  $('name').textContent = document.title = name;
  put($('name'), 'small', `version ${facts.version}`);
  $('description').textContent = facts.description;
  $('facts').replaceChildren();
  for (const [term, text] of [
    ['Accuracy', accuracy(about)],
    ['Takes', model.inputs.map(s => tensor(s, 'in')).join('; ')],
    ['Gives', model.outputs.map(s => tensor(s, 'out')).join('; ')],
    ['State', p.state && `kept between the requests of a session: ${p.state.join(', ')}`],
    ['Model', `${facts.model}, variant ${variant}${about ? `, ${size(about.bytes)}` : ''}${p.candidate && variant === p.variant ? `, candidate ${p.candidate.slice(0, 12)}` : ''}`],
    ['Note', about && about.note],
    ['Author', facts.author],
    ['Licence', facts.licence || 'Not stated by who built it.'],
    ['Built for', `${facts.target}, by edgeship ${facts.edgeship}`],
    ['Runs on', p.delegate === 'none' ? '' : `${p.delegate}${p.delegated === false ? ', not taking part' : ''}`],
    ['Release', (p.release || '').slice(0, 12)],
  ]) if (text) { put($('facts'), 'dt', term); put($('facts'), 'dd', text); }
}

async function begin() {
  try {
    facts = await json('page.json');
    base = 'v2/models/' + encodeURIComponent(facts.app);
    model = await json(base);
    variant = model.parameters.variant;
  } catch (error) {
    state('bad', `${error.message} Trying again.`);
    return setTimeout(begin, POLL);
  }
  tellFacts();
  $('drop').hidden = !picture();
  $('json').open = !picture();
  $('url').textContent = new URL(base + '/infer', location.href).href;
  for (const id of ['try', 'now', 'what', 'foot']) $(id).hidden = false;
  listen();
  example();
  watch();
}

begin();
