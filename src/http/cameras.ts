/** Addresses of cameras: which there are, what is recorded of them, and those that are live, with their switch. */
import type { CameraHealth } from '../camera-health.ts';
import type { CameraInfo } from '../catalog/timeline.ts';
import { FootageError } from '../errors.ts';
import { parseSpan } from '../time.ts';
import { readJson } from './body.ts';
import { type ArchiveFace, type CameraControl, type Exchange, sendJson } from './exchange.ts';

/** Cameras with footage, and live ones without any yet, by name. */
export async function sendCameras({ req, res, archive }: Exchange): Promise<void> {
  const recorded = await archive.cameras();
  const live = new Map(archive.liveCameras().map((control) => [control.name, liveOf(control.health())]));
  const names = new Set(recorded.map(({ name }) => name));
  const unrecorded = [...live.keys()].filter((name) => !names.has(name)).map(nothingYet);
  const all = [...recorded.map(extentOf), ...unrecorded].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  sendJson(req, res, 200, { cameras: all.map((camera) => ({ ...camera, live: live.get(camera.name) ?? null })) });
}

function extentOf({ name, startUtcMs, endUtcMs, recording }: CameraInfo) {
  return { name, startUtcMs, endUtcMs, recording };
}

function nothingYet(name: string) {
  return { name, startUtcMs: null, endUtcMs: null, recording: false };
}

function liveOf({ state, recording, wanted, error }: CameraHealth) {
  return { state, recording, wanted, error };
}

export async function sendTimeline({ req, res, query, archive }: Exchange, camera: string): Promise<void> {
  const asked = query.has('start') || query.has('end') || query.has('duration');
  sendJson(req, res, 200, await archive.timeline(camera, asked ? parseSpan(rangeOf(query)) : undefined));
}

function rangeOf(query: URLSearchParams): { start?: string; end?: string; duration?: string } {
  const keys = ['start', 'end', 'duration'] as const;
  return Object.fromEntries(keys.flatMap((key) => (query.has(key) ? [[key, query.get(key) ?? '']] : [])));
}

export async function sendHealth({ req, res, archive }: Exchange, camera: string): Promise<void> {
  sendJson(req, res, 200, (await controlOf(archive, camera)).health());
}

export async function sendRecording({ req, res, archive }: Exchange, camera: string): Promise<void> {
  sendJson(req, res, 200, { camera, ...(await recordingOf(archive, camera)) });
}

/** Whether frames of a camera go to the disk, and whether they shall. */
interface RecordingState {
  readonly recording: boolean;
  readonly wanted: boolean;
}

/** Of a camera that is not live, what is recorded is what was asked for. @throws FootageError E_CAMERA_NAME, E_CAMERA_UNKNOWN */
export async function recordingOf(archive: ArchiveFace, camera: string): Promise<RecordingState> {
  const control = archive.control(camera);
  if (control !== undefined) return recordingOfLive(control);
  await checkKnown(archive, camera);
  const recording = archive.isRecording(camera);
  return { recording, wanted: recording };
}

function recordingOfLive(control: CameraControl): RecordingState {
  const { recording, wanted } = control.health();
  return { recording, wanted };
}

export async function switchRecording({ req, res, archive }: Exchange, camera: string): Promise<void> {
  const { recording, options } = wishOf(await readJson(req, USAGE));
  const control = await controlOf(archive, camera);
  if (recording) control.startRecording(options);
  else control.stopRecording();
  sendJson(req, res, 200, { camera, ...recordingOfLive(control) });
}

/** @throws FootageError E_CAMERA_NAME, E_CAMERA_UNKNOWN, E_CAMERA_NOT_LIVE */
export async function controlOf(archive: ArchiveFace, camera: string): Promise<CameraControl> {
  const control = archive.control(camera);
  if (control !== undefined) return control;
  await checkKnown(archive, camera);
  throw new FootageError(
    'E_CAMERA_NOT_LIVE',
    `Camera "${camera}" is not connected by this server: connect it here, or ask the program that records it.`,
  );
}

/** Of a camera whose first segment is being begun there is no footage yet. */
async function checkKnown(archive: ArchiveFace, camera: string): Promise<void> {
  if (archive.isRecording(camera) || (await archive.knowsCamera(camera))) return;
  throw new FootageError(
    'E_CAMERA_UNKNOWN',
    `There is no camera "${camera}" in this archive, and none is connected: GET /api/cameras lists their names.`,
  );
}

const USAGE = 'write {"recording": true}, {"recording": true, "durationSeconds": 60} or {"recording": false}.';
/** No timer of Node is longer than 24 days. */
const MAX_DURATION_SECONDS = 7 * 24 * 3600;

interface Wish {
  readonly recording: boolean;
  readonly options: { readonly forMs?: number };
}

const refused = (what: string) => new FootageError('E_QUERY', `${what}: ${USAGE}`);

/** @throws FootageError E_QUERY */
function wishOf(body: unknown): Wish {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw refused('The body is no JSON object');
  const { recording, durationSeconds, ...others } = body as Readonly<Record<string, unknown>>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw refused(`"${unknown.slice(0, 40)}" is not known`);
  if (typeof recording !== 'boolean') throw refused('"recording" is true or false, and must be given');
  if (durationSeconds === undefined) return { recording, options: {} };
  if (!recording) throw refused('"durationSeconds" goes with "recording": true only');
  if (typeof durationSeconds !== 'number' || !(durationSeconds > 0 && durationSeconds <= MAX_DURATION_SECONDS)) {
    throw refused(`"durationSeconds" is a number above 0, at most ${MAX_DURATION_SECONDS}`);
  }
  return { recording, options: { forMs: Math.max(1, Math.round(durationSeconds * 1000)) } };
}
