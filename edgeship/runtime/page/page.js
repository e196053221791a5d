// The page of a service: what it is, trying it, how it does. Asks nothing but this very service, at relative addresses.
'use strict';

const $ = id => document.getElementById(id);
const MODEL_TIME = 60000, POLL = 2000, MOST_PIXELS = 16e6, MOST_EXAMPLE = 200000, TOP = 5;
let facts, model, variant, base, before, governed = true, busy = false, stream = null, last = null, again;

// --- words ---------------------------------------------------------------------------------------------

const METRICS = {
  top1: 'right at first guess', top5: 'right among five guesses', auc: 'area under the ROC curve',
  map: 'mean average precision', map50: 'mean average precision at half overlap', mse: 'mean squared error', mae: 'mean absolute error',
};
const PERCENT = ['top1', 'top5', 'auc', 'map', 'map50'];

const figure = v => !Number.isFinite(v) ? String(v) : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString('en') : String(+v.toPrecision(3));
const whole = v => Math.round(v).toLocaleString('en');
const size = n => n < 1e6 ? figure(n / 1e3) + ' kB' : figure(n / 1e6) + ' MB';
const time = ms => ms < 1000 ? figure(ms) + ' ms' : figure(ms / 1000) + ' s';
const count = shape => shape.reduce((a, b) => a * b, 1);

function put(parent, tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  parent.append(made);
  return made;
}

function accuracy(about) {
  const m = about.metric || {}, value = m.value, on = facts.measured_on;
  const parts = [];
  if (typeof value === 'number') {
    const unit = PERCENT.includes(m.name) ? ' %' : '';
    const show = v => (unit ? v.toFixed(1) : figure(v)) + unit;
    let line = `${show(value)} ${METRICS[m.name] || m.name}`;
    if (on) line += `, measured on ${whole(on.samples)} samples of ${on.data}`;
    if (typeof m.float === 'number') line += `; the uncompressed model: ${show(m.float)}`;
    if (about.compiled) line += '; before it was compiled for the accelerator';
    parts.push(line);
  } else parts.push(`Not measured${value && value.unavailable ? ': ' + value.unavailable : ''}`);
  if (typeof about.agreement === 'number') parts.push(`gives the uncompressed model's answer for ${(100 * about.agreement).toFixed(1)} % of them`);
  return parts.join('; ') + '. Other data may give other figures.';
}

function tensor(spec, side) {
  const shape = spec.shape.length > 1 && spec.shape[0] === 1 ? spec.shape.slice(1) : spec.shape;
  const p = picture(), n = count(shape);
  if (side === 'in' && p) return `${spec.name}: a picture, ${p.width} × ${p.height} pixels, ${{1: 'gray', 3: 'in colour', 4: 'in colour with transparency'}[p.channels]} (${spec.datatype})`;
  let line = `${spec.name}: ${n === 1 ? 'one number' : shape.join(' × ') + ' numbers'} (${spec.datatype})`;
  const c = facts.classes;
  if (side === 'out' && c && spec.shape[spec.shape.length - 1] === c.count) {
    line += `, one a class: ${c.first.join(', ')}${c.count > c.first.length ? ` and ${c.count - c.first.length} more` : ''}`;
  }
  return line;
}

// What the variant that serves takes as a picture: only where the build knew, and the service says the same.
function picture() {
  const p = (facts.variants[variant] || {}).picture, spec = model.inputs[0];
  const fits = p && model.inputs.length === 1 && spec.name === p.input && String(spec.shape) === String([1, p.height, p.width, p.channels]);
  return fits ? p : null;
}

// --- asking --------------------------------------------------------------------------------------------

async function ask(path, options, ms = 10000) {
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), ms);
  try {
    const answer = await fetch(path, {...options, signal: stop.signal, cache: 'no-cache'});
    return {status: answer.status, headers: answer.headers, data: await answer.arrayBuffer()};
  } catch (error) {
    throw new Error(stop.signal.aborted ? `The service gave no answer within ${ms / 1000} s.`
      : 'The service does not answer: it was stopped, or the network to it is gone.');
  } finally { clearTimeout(timer); }
}

const decoded = data => new TextDecoder().decode(data);

function refused(answer) {
  let said = decoded(answer.data).slice(0, 500);
  try { said = JSON.parse(said).error || said; } catch (e) { /* a proxy's own page */ }
  const wait = answer.headers.get('retry-after');
  const what = answer.status === 503 ? 'The service has no room for it now' : answer.status === 413 ? 'That is too much at once'
    : answer.status >= 500 ? 'The service failed' : 'The service does not take that';
  return new Error(`${what} (${answer.status}): ${said}${wait ? `\nTry again in ${wait} s.` : ''}`);
}

async function json(path) {
  const answer = await ask(path);
  if (answer.status !== 200) throw refused(answer);
  try { return JSON.parse(decoded(answer.data)); }
  catch (e) { throw new Error(`What answers at ${path} is not this service: it sent no JSON.`); }
}

// Which outputs come as classes by name, and which as bytes.
const named = spec => facts.classes && spec.shape[spec.shape.length - 1] === facts.classes.count && count(spec.shape) === facts.classes.count;
const wanted = () => model.outputs.map(o => ({name: o.name, parameters: named(o) ? {classification: facts.classes.count} : {binary_data: true}}));

const ARRAYS = {BOOL: Uint8Array, UINT8: Uint8Array, INT8: Int8Array, UINT16: Uint16Array, INT16: Int16Array, UINT32: Uint32Array,
  INT32: Int32Array, UINT64: BigUint64Array, INT64: BigInt64Array, FP32: Float32Array, FP64: Float64Array};

// Return the document of an answer with every output's `data`, whether it came as JSON or as bytes.
function read(answer) {
  if (answer.status !== 200) throw refused(answer);
  const length = answer.headers.get('inference-header-content-length');
  const told = JSON.parse(decoded(length ? answer.data.slice(0, +length) : answer.data));
  let at = +length;
  for (const output of told.outputs) {
    const bytes = (output.parameters || {}).binary_data_size;
    if (bytes === undefined) continue;
    output.data = Array.from(new ARRAYS[output.datatype](answer.data.slice(at, at + bytes)), Number);
    at += bytes;
  }
  return told;
}

async function infer(body, headers) {
  const begun = performance.now();
  const answer = await ask(base + '/infer', {method: 'POST', body, headers}, MODEL_TIME);
  return {told: read(answer), ms: performance.now() - begun};
}

// --- from a picture to the model's input ---------------------------------------------------------------

const canvas = (w, h) => Object.assign(document.createElement('canvas'), {width: w, height: h});

// Return {data, width, height} of RGBA bytes: upright, colours as they stand in the file.
function pixels(source, width, height, cut) {
  let x = 0, y = 0, w = width, h = height;
  if (cut) {
    w = Math.min(w, Math.round(h * cut));
    h = Math.min(h, Math.round(w / cut));
    x = (width - w) >> 1;
    y = (height - h) >> 1;
  }
  const by = Math.min(1, Math.sqrt(MOST_PIXELS / (w * h))), W = Math.round(w * by) || 1, H = Math.round(h * by) || 1;
  const drawn = canvas(W, H).getContext('2d', {willReadFrequently: true});
  drawn.drawImage(source, x, y, w, h, 0, 0, W, H);
  return {data: drawn.getImageData(0, 0, W, H).data, width: W, height: H, box: [x, y, w, h]};
}

// Gray as Pillow makes it (ITU-R BT.601 in 16 bits); transparency is dropped.
function channels(rgba, number) {
  const n = rgba.length / 4, out = new Uint8Array(n * number);
  for (let i = 0, k = 0; i < n; i++) {
    if (number === 1) out[k++] = (19595 * rgba[4 * i] + 38470 * rgba[4 * i + 1] + 7471 * rgba[4 * i + 2] + 32768) >> 16;
    else for (let c = 0; c < number; c++) out[k++] = rgba[4 * i + c];
  }
  return out;
}

const even = v => { const r = Math.round(v); return r - v === 0.5 && r % 2 ? r - 1 : r; };

// For each place of `to` the first of `from` and the weights from there: half-pixel centres, as the service resizes.
const TAPS = {
  nearest: (from, i, by) => [Math.min(Math.floor((i + 0.5) * by), from - 1), [1]],
  bilinear(from, i, by) {
    const at = Math.min(Math.max((i + 0.5) * by - 0.5, 0), from - 1), first = Math.floor(at), rest = at - first;
    return first + 1 < from ? [first, [1 - rest, rest]] : [first, [1]];
  },
  smooth(from, i, by) {  // Pillow's BILINEAR: a triangle as wide as what a pixel covers
    const wide = Math.max(by, 1), at = (i + 0.5) * by;
    const first = Math.max(0, Math.floor(at - wide + 0.5)), end = Math.min(from, Math.floor(at + wide + 0.5)), w = [];
    for (let x = first; x < end; x++) w.push(Math.max(0, 1 - Math.abs((x - at + 0.5) / wide)));
    const sum = w.reduce((a, b) => a + b, 0);
    return [first, w.map(v => v / sum)];
  },
};

function resized(bytes, w, h, c, W, H, method) {
  if (w === W && h === H) return bytes;
  const taps = (from, to) => Array.from({length: to}, (_, i) => TAPS[method](from, i, from / to));
  const columns = taps(w, W), rows = taps(h, H), smooth = method === 'smooth';
  const across = new Map(), out = new Uint8Array(W * H * c);
  const row = y => {
    if (across.has(y)) return across.get(y);
    const made = new Float64Array(W * c);
    columns.forEach(([first, weights], x) => {
      for (let k = 0; k < c; k++) {
        let sum = 0, at = (y * w + first) * c + k;
        for (const v of weights) { sum += bytes[at] * v; at += c; }
        made[x * c + k] = smooth ? Math.floor(sum + 0.5) : sum;
      }
    });
    across.set(y, made);
    return made;
  };
  rows.forEach(([first, weights], y) => {
    for (const known of across.keys()) if (known < first) across.delete(known);
    const lines = weights.map((_, i) => row(first + i));
    for (let x = 0; x < W * c; x++) {
      let sum = 0;
      for (let i = 0; i < lines.length; i++) sum += lines[i][x] * weights[i];
      out[y * W * c + x] = smooth ? Math.floor(sum + 0.5) : even(sum);
    }
  });
  return out;
}

// Return {bytes, values}: the picture in the model's size, and what is sent of it.
function prepared(shot, p) {
  const bytes = resized(channels(shot.data, p.channels), shot.width, shot.height, p.channels, p.width, p.height, p.resize);
  return {bytes, values: p.datatype === 'UINT8' ? bytes : Float32Array.from(bytes, v => v * p.scale + p.offset)};
}

async function classify(source, width, height, live) {
  const p = picture(), cut = $('fit').value && p.width / p.height;
  const shot = pixels(source, width, height, cut), {bytes, values} = prepared(shot, p);
  show(source, width, height, bytes, p);
  const head = JSON.stringify({
    inputs: [{name: p.input, datatype: p.datatype, shape: [1, p.height, p.width, p.channels], parameters: {binary_data_size: values.byteLength}}],
    outputs: wanted(),
  });
  const sent = new TextEncoder().encode(head);
  const {told, ms} = await infer(new Blob([sent, values]),
    {'Content-Type': 'application/octet-stream', 'Inference-Header-Content-Length': sent.length});
  if (live && !stream) return;
  present(told, ms, {source, width, height, box: shot.box});
}

function show(source, width, height, bytes, p) {
  const by = Math.min(1, 960 / Math.max(width, height)), shown = $('shown');
  shown.width = Math.max(1, width * by);
  shown.height = Math.max(1, height * by);
  shown.getContext('2d').drawImage(source, 0, 0, shown.width, shown.height);
  const seen = $('seen'), image = new ImageData(p.width, p.height);
  for (let i = 0; i < p.width * p.height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[i * p.channels + (p.channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  seen.width = p.width;
  seen.height = p.height;
  seen.getContext('2d').putImageData(image, 0, 0);
  $('seen-note').textContent = `What the model is given: ${p.width} × ${p.height}; values: ${p.basis}.`;
  $('look').hidden = false;
}

// --- the answer ----------------------------------------------------------------------------------------

function present(told, ms, shot) {
  const place = $('result'), made = document.createDocumentFragment(), parameters = told.parameters || {};
  last = told;
  const found = shot && facts.boxes ? boxes(told.outputs) : null;
  if (found) drawBoxes(found, shot, made);
  else for (const output of told.outputs) {
    if (told.outputs.length > 1) put(made, 'h3', output.name);
    if (output.datatype === 'BYTES') bars(made, output.data.map(entry => {
      const [, value, index, label] = /^([^:]*):(\d+)(?::(.*))?$/s.exec(entry) || [0, NaN, 0, entry];
      return {label: label || `class ${index}`, value: +value};
    }));
    else numbers(made, output);
  }
  const why = parameters.reason ? `, chosen: ${parameters.reason}` : '';
  put(made, 'p', `Answered in ${time(ms)}, there and back, by variant ${parameters.variant}${why}.`, 'quiet');
  place.setAttribute('aria-live', stream ? 'off' : 'polite');
  place.replaceChildren(made);
  $('whole').hidden = false;
  if ($('whole').open) tell();
}

function tell() {
  const text = JSON.stringify(last, (key, v) => Array.isArray(v) && v.length > 1000 ? [...v.slice(0, 1000), `and ${v.length - 1000} more`] : v);
  $('answer').textContent = text.replace(/(\{"name")/g, '\n$1');
}

function bars(place, entries) {
  const sum = entries.reduce((a, e) => a + e.value, 0), most = Math.max(...entries.map(e => Math.abs(e.value)), 1e-30);
  const shares = Math.abs(sum - 1) < 0.03 && entries.every(e => e.value >= 0);
  const list = put(place, 'ol', undefined, 'bars');
  for (const {label, value} of entries.slice(0, TOP)) {
    const item = put(list, 'li');
    put(item, 'span', label);
    put(put(item, 'span'), 'i').style.width = 100 * Math.max(0, value / (shares ? 1 : most)) + '%';
    put(item, 'b', shares ? (100 * value).toFixed(1) + ' %' : figure(value));
  }
  const more = entries.length > TOP ? `The first ${TOP} of ${entries.length}. ` : '';
  put(place, 'p', more + (shares ? 'As sure as the model says it is, which is no promise.' : 'Values as the model gives them: no percentages.'), 'quiet');
}

function numbers(place, output) {
  const data = output.data.flat(9).map(Number), n = data.length;
  let low = Infinity, high = -Infinity;
  for (const v of data) { low = Math.min(low, v); high = Math.max(high, v); }
  put(place, 'p', `${n === 1 ? 'One number' : `${output.shape.join(' × ')} numbers, ${figure(low)} to ${figure(high)}`}:`);
  put(place, 'pre', data.slice(0, 100).map(figure).join('  ') + (n > 100 ? `  … and ${whole(n - 100)} more` : '')).tabIndex = 0;
}

// --- boxes: corners in fractions of what the model was given; forms as in edgeship/score/detections.py --------------

function boxes(outputs) {
  const form = facts.boxes, p = picture(), out = [];
  if (form.form === 'finished') {
    const place = outputs[form.boxes].data, lists = form.lists.map(k => outputs[k].data), isWhole = lists.map(l => l.every(Number.isInteger));
    const [classes, scores] = isWhole[0] || !isWhole[1] ? lists : [lists[1], lists[0]];
    const n = form.count === null ? scores.length : Math.min(outputs[form.count].data[0], scores.length);
    for (let i = 0; i < n; i++) out.push({box: [1, 0, 3, 2].map(k => place[4 * i + k]), label: Math.round(classes[i]), score: scores[i]});
  } else {
    const [a, b] = outputs[0].shape.slice(1), [rows, columns] = form.turned ? [b, a] : [a, b];
    const at = (i, k) => outputs[0].data[form.turned ? k * rows + i : i * columns + k];
    const squash = form.form === 'rows' && outputs[0].data.some((v, k) => (form.turned ? Math.floor(k / rows) : k % columns) > 3 && (v < 0 || v > 1));
    const share = v => squash ? 1 / (1 + Math.exp(-v)) : v;
    for (let i = 0; i < rows; i++) {
      let [x, y, w, h] = [0, 1, 2, 3].map(k => at(i, k)), label = 0, score;
      if (form.form === 'end') out.push({box: [x, y, w, h], label: Math.round(at(i, 5)), score: at(i, 4)});
      else {
        const first = 4 + form.sure;
        for (let k = first; k < columns; k++) if (at(i, k) > at(i, first + label)) label = k - first;
        score = share(at(i, first + label)) * (form.sure ? share(at(i, 4)) : 1);
        out.push({box: [x - w / 2, y - h / 2, x + w / 2, y + h / 2], label, score});
      }
    }
  }
  const inPixels = out.some(o => o.box.some(v => Math.abs(v) > 2));
  if (inPixels) for (const o of out) o.box = o.box.map((v, k) => v / (k % 2 ? p.height : p.width));
  const kept = [];
  for (const o of out.filter(o => o.score >= 0.3).sort((a, b) => b.score - a.score).slice(0, 300)) {
    if (form.form !== 'rows' || kept.every(k => k.label !== o.label || overlap(k.box, o.box) < 0.6)) kept.push(o);
  }
  return kept.slice(0, 50);
}

function overlap(a, b) {
  const side = (low, high) => Math.max(0, Math.min(a[high], b[high]) - Math.max(a[low], b[low]));
  const area = c => (c[2] - c[0]) * (c[3] - c[1]), both = side(0, 2) * side(1, 3);
  return both / (area(a) + area(b) - both || 1);
}

function drawBoxes(found, shot, place) {
  const shown = $('shown'), pen = shown.getContext('2d'), by = shown.width / shot.width, [x, y, w, h] = shot.box;
  pen.font = `${Math.max(14, shown.width / 40)}px system-ui, sans-serif`;
  pen.lineWidth = Math.max(2, shown.width / 300);
  const name = o => facts.labels[o.label] || `class ${o.label}`;
  for (const o of found) {
    const [l, t, r, b] = o.box.map((v, k) => (k % 2 ? y + v * h : x + v * w) * by), text = `${name(o)} ${Math.round(100 * o.score)} %`;
    pen.strokeStyle = '#ff3b8d';
    pen.strokeRect(l, t, r - l, b - t);
    pen.fillStyle = '#ff3b8d';
    pen.fillRect(l, t, pen.measureText(text).width + 8, parseInt(pen.font) * 1.3);
    pen.fillStyle = '#000';
    pen.fillText(text, l + 4, t + parseInt(pen.font));
  }
  shown.setAttribute('aria-label', `the picture, with ${found.length} boxes`);
  put(place, 'p', found.length ? `Found: ${found.map(o => `${name(o)} (${(100 * o.score).toFixed(0)} %)`).join(', ')}.` : 'Nothing found of which the model is 30 % sure.');
}

// --- trying --------------------------------------------------------------------------------------------

function problem(error) {
  const place = $('result');
  place.setAttribute('aria-live', 'assertive');
  place.replaceChildren();
  put(place, 'p', error.message, 'problem');
}

async function once(work) {
  if (busy) return;
  busy = true;
  $('result').setAttribute('aria-busy', true);
  try { await work(); } catch (error) { problem(error); }
  busy = false;
  $('result').removeAttribute('aria-busy');
}

async function opened(file) {
  const as = {imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none'};
  try { return await createImageBitmap(file, as); }
  catch (e) { throw new Error(`${file.name || 'That'} is no picture that this browser can read.`); }
}

const pictureFrom = file => once(async () => {
  stopCamera();
  const image = await opened(file);
  again = () => once(() => classify(image, image.width, image.height));
  await classify(image, image.width, image.height);
});

async function startCamera() {
  try { stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment', width: {ideal: 640}}}); }
  catch (e) { return problem(new Error(`The camera cannot be used: ${e.name === 'NotAllowedError' ? 'it was not allowed' : e.message || e.name}.`)); }
  const video = document.createElement('video');
  Object.assign(video, {muted: true, playsInline: true, srcObject: stream});
  again = null;
  $('camera').textContent = 'Stop the camera';
  await video.play();
  while (stream && video.srcObject === stream) {
    if (!document.hidden) try { await classify(video, video.videoWidth, video.videoHeight, true); } catch (error) { stopCamera(); problem(error); }
    await new Promise(next => setTimeout(next, 100));
  }
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  $('camera').textContent = 'Use the camera';
}

async function sendJson() {
  let body;
  try { body = JSON.parse($('text').value); }
  catch (error) { throw new Error(`That is no JSON: ${error.message}`); }
  $('look').hidden = true;
  const {told, ms} = await infer(JSON.stringify(body), {'Content-Type': 'application/json'});
  present(told, ms);
}

function example() {
  const total = model.inputs.reduce((a, s) => a + count(s.shape), 0);
  if ($('text').value) return;
  if (total > MOST_EXAMPLE) {
    $('json-note').textContent = `An example would hold ${whole(total)} numbers, too many for this field: choose a file. README.txt in the bundle has a command that makes one.`;
    return;
  }
  const zero = s => s.datatype === 'BOOL' ? false : 0;
  const inputs = model.inputs.map(s => ({name: s.name, datatype: s.datatype, shape: s.shape, data: Array(count(s.shape)).fill(zero(s))}));
  const classes = model.outputs.filter(named).map(o => ({name: o.name, parameters: {classification: Math.min(TOP, facts.classes.count)}}));
  $('text').value = JSON.stringify(classes.length === model.outputs.length ? {inputs, outputs: classes} : {inputs});
}

function listen() {
  const drop = $('drop'), camera = $('camera');
  $('file').onchange = e => e.target.files[0] && pictureFrom(e.target.files[0]);
  $('fit').onchange = () => again && again();
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, e => {
    e.preventDefault();
    drop.classList.toggle('over', kind === 'dragover');
    const file = kind === 'drop' && e.dataTransfer.files[0];
    if (file && picture()) pictureFrom(file);
  });
  document.addEventListener('paste', e => {
    const file = [...e.clipboardData.files].find(f => f.type.startsWith('image/'));
    if (file && picture()) pictureFrom(file);
  });
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
    camera.disabled = true;
    $('camera-note').textContent = isSecureContext ? 'This browser offers no camera.'
      : 'Browsers give a camera only to pages from localhost or over https: reach this one through ssh -L, or a proxy with a certificate.';
  }
  camera.onclick = () => stream ? stopCamera() : startCamera();
  $('json').ontoggle = example;
  $('whole').ontoggle = tell;
  $('send').onclick = () => once(sendJson);
  $('json-file').onchange = async e => {
    if (!e.target.files[0]) return;
    $('text').value = await e.target.files[0].text();
    once(sendJson);
  };
  document.addEventListener('visibilitychange', () => document.hidden || watch());
}

// --- now -----------------------------------------------------------------------------------------------

function tiles(entries) {
  const place = $('tiles'), made = document.createDocumentFragment();
  for (const [name, value, note] of entries) {
    if (value === null || value === undefined || Number.isNaN(value)) continue;
    const tile = put(made, 'div');
    put(tile, 'dt', name);
    const shown = put(tile, 'dd', value);
    if (note) put(shown, 'small', note);
  }
  place.replaceChildren(made);
}

const known = (value, words) => typeof value === 'number' ? words(value) : null;
const percent = v => Math.round(100 * v) + ' %';

function governor(told) {
  variant = told.rung || variant;
  tiles([
    ['Answer time', known(told.p50_ms, time), known(told.p95_ms, v => `95 of 100 within ${time(v)}`)],
    ['Load', known(told.load, percent), known(told.rate, v => `${figure(v)} requests a second`)],
    ['Serves now', told.rung, told.reason && `why: ${told.reason}`],
    ['Temperature', known(told.temperature_c, v => figure(v) + ' °C')],
    ['Power', known(told.watts, v => figure(v) + ' W'), told.joules_by],
    ['Too late', known(told.misses, whole), known(told.refused, v => `${whole(v)} refused`)],
  ]);
  const unknown = [['the temperature', told.temperature_c], ['the power', told.watts]].filter(e => typeof e[1] !== 'number').map(e => e[0]);
  $('now-note').textContent = (told.mode === 'off' ? 'The governor is off: nothing is adapted. ' : '') + (unknown.length ? `Not known here: ${unknown.join(' and ')}.` : '');
}

function metrics(text, now) {
  const m = {};
  for (const line of text.split('\n')) if (line && line[0] !== '#') { const at = line.lastIndexOf(' '); m[line.slice(0, at)] = +line.slice(at + 1); }
  const codes = Object.keys(m).filter(k => k.startsWith('edgeship_requests_total{route="infer"'));
  const good = codes.filter(k => k.includes('"200"')).reduce((a, k) => a + m[k], 0);
  const refusals = codes.reduce((a, k) => a + m[k], 0) - good;
  const bounds = Object.keys(m).filter(k => k.startsWith('edgeship_request_seconds_bucket')).map(k => [+/le="([^"]*)"/.exec(k)[1].replace('+Inf', 'Infinity'), m[k]]);
  const total = m.edgeship_request_seconds_count;
  const within = share => (bounds.find(b => b[1] >= share * total) || [NaN])[0];
  const mean = 1000 * m.edgeship_request_seconds_sum / total;
  const passed = before && (now - before.now) / 1000, ran = before && m.edgeship_inference_seconds_sum - before.sum;
  tiles([
    ['Answer time', total ? time(mean) : 'no request yet', total && within(0.95) < Infinity ? `mean; 95 of 100 within ${time(1000 * within(0.95))}` : ''],
    ['Load', passed && ran >= 0 ? percent(Math.min(1, ran / passed)) : null, 'share of the time the engine works'],
    ['Serves now', variant],
    ['Requests', whole(good), refusals ? `${whole(refusals)} refused` : 'answered'],
    ['Waiting', whole(m.edgeship_queue_depth), `${whole(m.edgeship_queue_limit)} may wait`],
    ['Memory', known(m.process_resident_memory_bytes, size)],
    ['Runs since', known(m.edgeship_uptime_seconds, v => v < 5400 ? `${Math.max(1, Math.round(v / 60))} min` : v < 172800 ? `${Math.round(v / 3600)} h` : `${Math.round(v / 86400)} days`)],
  ]);
  before = {now, sum: m.edgeship_inference_seconds_sum};
  $('now-note').textContent = 'Since the service started. Temperature and power are not known: this release has no governor.';
}

let timer = 0;
async function watch() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    let told = governed ? await ask(base + '/governor') : null;
    if (told && told.status === 200) governor(JSON.parse(decoded(told.data)));
    else {
      governed = false;
      told = await ask('metrics');
      if (told.status !== 200) throw refused(told);
      metrics(decoded(told.data), performance.now());
    }
    const ready = await ask('v2/health/ready');
    if (ready.status === 200) state('good', 'Ready');
    else state('bad', `Not ready: ${JSON.parse(decoded(ready.data)).error}`);
  } catch (error) { state('bad', `${error.message} Trying again.`); }
  timer = setTimeout(watch, POLL);
}

function state(kind, words) {
  const place = $('state');
  place.className = 'state ' + kind;
  if (place.textContent !== words) place.textContent = words;
}

// --- what it is ----------------------------------------------------------------------------------------

function tellFacts() {
  const about = facts.variants[variant] || {}, p = model.parameters, list = $('facts');
  const accelerated = {true: 'takes part', false: 'does not take part'}[p.delegated];
  $('name').textContent = facts.name || facts.app;
  put($('name'), 'small', ` version ${facts.version}`);
  document.title = `${facts.name || facts.app} ${facts.version}`;
  $('description').textContent = facts.description || '';
  $('description').hidden = !facts.description;
  list.replaceChildren();
  for (const [term, text] of [
    ['Accuracy', accuracy(about)],
    ['Takes', model.inputs.map(s => tensor(s, 'in')).join('; ')],
    ['Gives', model.outputs.map(s => tensor(s, 'out')).join('; ')],
    ['State', p.state && `It keeps something from one request to the next where a request names a session: ${p.state.join(', ')}.`],
    ['Model', `${facts.model}, variant ${variant}${about.bytes ? `, ${size(about.bytes)}` : ''}${p.candidate ? `, candidate ${p.candidate.slice(0, 12)}` : ''}`],
    ['Note', about.note],
    ['Other variants', Object.keys(facts.variants).filter(v => v !== variant).join(', ')],
    ['Author', facts.author],
    ['Licence', facts.licence || 'Not stated by who built it. Licences of the software in the bundle are in its folder licences.'],
    ['Built for', `${facts.target}, by edgeship ${facts.edgeship}`],
    ['Accelerator', accelerated && p.delegate !== 'none' && `${p.delegate}: ${accelerated}`],
    ['Release', p.release && p.release.slice(0, 12)],
  ]) if (text) { put(list, 'dt', term); put(list, 'dd', text); }
}

async function begin() {
  try {
    facts = await json('page.json');
    base = 'v2/models/' + encodeURIComponent(facts.app);
    model = await json(base);
  } catch (error) {
    state('bad', `${error.message} Trying again.`);
    setTimeout(begin, POLL);
    return;
  }
  variant = model.parameters.variant;
  tellFacts();
  const p = picture();
  $('picture').hidden = !p;
  $('json').open = !p;
  $('url').textContent = new URL(base + '/infer', location.href).href;
  for (const id of ['try', 'now', 'what', 'foot']) $(id).hidden = false;
  listen();
  example();
  watch();
}

begin();
