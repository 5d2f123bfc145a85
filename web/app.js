/**
 * The page: what is recorded per camera, a range to choose, to play and to download. It only talks HTTP, with the
 * addresses of its API; times on the wire are UTC, times on the screen are the viewer's.
 */

const REFRESH_MS = 1000;

const element = (id) => document.getElementById(id);
const view = {
  window: element('window'),
  connection: element('connection'),
  cameras: element('cameras'),
  noCameras: element('no-cameras'),
  form: element('range'),
  camera: element('camera'),
  start: element('start'),
  end: element('end'),
  gaps: element('gaps'),
  tracks: element('tracks'),
  download: element('download'),
  summary: element('summary'),
  error: element('error'),
  player: element('player'),
};

/** Cameras as the server last told, by name: { name, startUtcMs, endUtcMs, recording, live, spans }. */
let cameras = new Map();
/** Rows on the page by camera: { item, bar, state, from, to, shown: { startUtcMs, endUtcMs } }. */
const rows = new Map();

/** GETs JSON; throws an Error with the server's own words. */
async function getJson(address) {
  const response = await fetch(address, { headers: { accept: 'application/json' } });
  if (!response.ok) throw new Error(await errorText(response));
  return response.json();
}

/** What an answer that is not 2xx says: the API's message with its code, else the HTTP status. */
async function errorText(response) {
  try {
    const { error } = await response.json();
    return `${error.message} (${error.code})`;
  } catch {
    return `The server answered ${response.status} ${response.statusText}`;
  }
}

const cameraAddress = (name) => `api/cameras/${encodeURIComponent(name)}`;
/** Unix seconds with milliseconds, as the API takes times. */
const seconds = (utcMs) => (utcMs / 1000).toFixed(3);

function showMessage(target, text) {
  target.textContent = text;
  target.hidden = text === '';
}

// ---- what is recorded -------------------------------------------------------------------------------------------

/** The stretch of time that a camera's bar shows. */
function shownRange(camera) {
  const length = view.window.value === 'all' ? Number.POSITIVE_INFINITY : Number(view.window.value) * 1000;
  const startUtcMs = Math.max(camera.startUtcMs, camera.endUtcMs - length);
  return { startUtcMs, endUtcMs: Math.max(camera.endUtcMs, startUtcMs + 1) };
}

async function loadCamera(camera) {
  if (camera.startUtcMs === null) return { ...camera, startUtcMs: Date.now(), endUtcMs: Date.now(), spans: [] };
  const { startUtcMs, endUtcMs } = shownRange(camera);
  const query = `start=${seconds(startUtcMs)}&end=${seconds(endUtcMs)}`;
  const { spans } = await getJson(`${cameraAddress(camera.name)}/timeline?${query}`);
  return { ...camera, spans };
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await getJson('api/cameras');
    const loaded = await Promise.all(answer.cameras.map(loadCamera));
    cameras = new Map(loaded.map((camera) => [camera.name, camera]));
    showMessage(view.connection, '');
    drawCameras();
  } catch (error) {
    showMessage(view.connection, `The list of cameras cannot be loaded: ${error.message}`);
  }
}

async function keepRefreshing() {
  await refresh();
  setTimeout(keepRefreshing, REFRESH_MS);
}

function drawCameras() {
  view.noCameras.hidden = cameras.size > 0;
  const listChanged = cameras.size !== rows.size || [...cameras.keys()].some((name) => !rows.has(name));
  if (listChanged) rebuildList();
  for (const camera of cameras.values()) drawRow(camera, rows.get(camera.name));
}

function rebuildList() {
  const chosen = view.camera.value;
  rows.clear();
  for (const name of cameras.keys()) rows.set(name, makeRow(name));
  view.cameras.replaceChildren(...[...rows.values()].map((row) => row.item));
  view.camera.replaceChildren(...[...cameras.keys()].map((name) => new Option(name, name)));
  if (cameras.has(chosen)) view.camera.value = chosen;
  drawChoice();
}

function make(tag, className, text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function makeRow(name) {
  const row = {
    item: make('li', ''),
    bar: make('div', 'bar'),
    state: make('span', 'state'),
    from: make('span', ''),
    to: make('span', ''),
    shown: { startUtcMs: 0, endUtcMs: 1 },
  };
  const title = make('div', 'name');
  title.append(make('span', '', name), row.state);
  const times = make('div', 'times');
  times.append(row.from, row.to);
  row.bar.setAttribute('role', 'img');
  row.item.append(title, row.bar, times);
  letChoose(name, row);
  return row;
}

function drawRow(camera, row) {
  row.shown = shownRange(camera);
  const isRecording = camera.live?.recording ?? camera.recording;
  row.state.textContent = isRecording ? '● recording' : liveText(camera.live);
  row.state.classList.toggle('recording', isRecording);
  row.from.textContent = clock(row.shown.startUtcMs);
  row.to.textContent = clock(row.shown.endUtcMs);
  const spans = camera.spans.map((span) => place(make('div', 'span'), row, span));
  row.bar.replaceChildren(...spans);
  const count = `${spans.length} ${spans.length === 1 ? 'stretch' : 'stretches'}`;
  row.bar.setAttribute(
    'aria-label',
    `${camera.name}: ${count} recorded, ${row.from.textContent} to ${row.to.textContent}`,
  );
  drawChosen(camera.name, row);
}

/** How a camera is that is not recorded: `live` is null for one that the server is not connected to. */
function liveText(live) {
  if (live === null) return '';
  return live.error === null ? live.state : `${live.state}: ${live.error.message}`;
}

/** Puts a mark where its time is, in percent of the bar. */
function place(mark, row, { startUtcMs, endUtcMs }) {
  const { startUtcMs: from, endUtcMs: to } = row.shown;
  const percent = (utcMs) => (100 * (Math.min(Math.max(utcMs, from), to) - from)) / (to - from);
  mark.style.left = `${percent(startUtcMs)}%`;
  mark.style.width = `${percent(endUtcMs) - percent(startUtcMs)}%`;
  return mark;
}

function clock(utcMs) {
  return new Date(utcMs).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' });
}

// ---- the range --------------------------------------------------------------------------------------------------

/** The range in the form, or undefined while it is not complete. */
function choice() {
  const startUtcMs = new Date(view.start.value).getTime();
  const endUtcMs = new Date(view.end.value).getTime();
  if (view.camera.value === '' || !(endUtcMs > startUtcMs)) return undefined;
  return { camera: view.camera.value, startUtcMs, endUtcMs };
}

function choose(camera, startUtcMs, endUtcMs) {
  view.camera.value = camera;
  view.start.value = localInput(startUtcMs);
  view.end.value = localInput(endUtcMs);
  drawChoice();
}

/** A UTC instant as the value of a datetime-local field, in the viewer's time zone. */
function localInput(utcMs) {
  const rounded = Math.round(utcMs);
  const offsetMs = new Date(rounded).getTimezoneOffset() * 60_000;
  return new Date(rounded - offsetMs).toISOString().slice(0, 23);
}

function exportAddress({ camera, startUtcMs, endUtcMs }) {
  const only = view.tracks.value === '' ? '' : `&tracks=${view.tracks.value}`;
  const range = `start=${seconds(startUtcMs)}&end=${seconds(endUtcMs)}`;
  return `${cameraAddress(camera)}/export.mp4?${range}&gaps=${view.gaps.value}${only}`;
}

function drawChoice() {
  const chosen = choice();
  view.download.setAttribute('aria-disabled', String(chosen === undefined));
  if (chosen === undefined) {
    view.download.removeAttribute('href');
    view.summary.textContent = view.start.value && view.end.value ? 'The range ends before it begins.' : '';
  } else {
    view.download.href = `${exportAddress(chosen)}&download=1`;
    view.summary.textContent = `${((chosen.endUtcMs - chosen.startUtcMs) / 1000).toFixed(1)} s`;
  }
  for (const [name, row] of rows) drawChosen(name, row);
}

function drawChosen(name, row) {
  row.bar.querySelector('.chosen')?.remove();
  const chosen = choice();
  if (chosen?.camera !== name) return;
  if (chosen.endUtcMs <= row.shown.startUtcMs || chosen.startUtcMs >= row.shown.endUtcMs) return;
  row.bar.append(place(make('div', 'chosen'), row, chosen));
}

/** Dragging along the bar chooses; the scale is frozen at the press, since the bar grows each second. */
function letChoose(name, row) {
  let press;
  const timeAt = (event, scale) => {
    const box = row.bar.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return scale.startUtcMs + part * (scale.endUtcMs - scale.startUtcMs);
  };
  row.bar.addEventListener('pointerdown', (event) => {
    press = { scale: row.shown, utcMs: timeAt(event, row.shown) };
    row.bar.setPointerCapture(event.pointerId);
  });
  row.bar.addEventListener('pointermove', (event) => {
    if (press === undefined) return;
    const other = timeAt(event, press.scale);
    if (other !== press.utcMs) choose(name, Math.min(press.utcMs, other), Math.max(press.utcMs, other));
  });
  for (const type of ['pointerup', 'pointercancel']) {
    row.bar.addEventListener(type, () => {
      press = undefined;
    });
  }
}

function chooseLast(amount) {
  const camera = cameras.get(view.camera.value);
  if (camera === undefined) return;
  const startUtcMs = amount === 'all' ? camera.startUtcMs : camera.endUtcMs - Number(amount) * 1000;
  choose(camera.name, Math.max(startUtcMs, camera.startUtcMs), camera.endUtcMs);
}

// ---- playing ----------------------------------------------------------------------------------------------------

async function play() {
  const chosen = choice();
  if (chosen === undefined) {
    showMessage(view.error, 'Choose a camera and a range that ends after it begins.');
    return;
  }
  showMessage(view.error, '');
  view.player.hidden = false;
  view.player.setAttribute('aria-label', `${chosen.camera}, ${clock(chosen.startUtcMs)} to ${clock(chosen.endUtcMs)}`);
  view.player.src = exportAddress(chosen);
  try {
    await view.player.play();
  } catch (error) {
    // The error event says why a file cannot be played; being stopped by the next choice is no error.
    if (error.name === 'NotAllowedError') view.player.focus();
  }
}

/** A <video> does not tell what the server said, so one byte of the same address is asked for. */
async function explainError() {
  const address = view.player.getAttribute('src');
  const reason = view.player.error?.message || 'the browser cannot play it';
  view.player.hidden = true;
  try {
    const response = await fetch(address, { headers: { range: 'bytes=0-0' } });
    const text = response.ok ? `This range was delivered, but not played: ${reason}` : await errorText(response);
    if (view.player.getAttribute('src') === address) showMessage(view.error, text);
  } catch (error) {
    showMessage(view.error, `The server cannot be reached: ${error.message}`);
  }
}

view.form.addEventListener('submit', (event) => {
  event.preventDefault();
  void play();
});
view.form.addEventListener('input', drawChoice);
view.form.addEventListener('click', (event) => {
  const amount = event.target.dataset?.last;
  if (amount !== undefined) chooseLast(amount);
});
view.player.addEventListener('error', () => void explainError());
view.window.addEventListener('change', () => void refresh());
document.addEventListener('visibilitychange', () => void refresh());
void keepRefreshing();
