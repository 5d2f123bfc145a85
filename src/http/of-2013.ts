/** The addresses of the 2013 system, with its names and its forms: programs that were written for it go on working. */
import { FootageError } from '../errors.ts';
import { controlOf, recordingOf } from './cameras.ts';
import { endWith, type Exchange, onlyOf } from './exchange.ts';
import { sendExport } from './export.ts';

const MAX_SEQ_CHARACTERS = 64;

/** `file`, or any name that ends like one of a film: some players go by that. */
export function sendExportOf2013(exchange: Exchange): Promise<void> {
  const camera = exchange.query.get('stream') ?? '';
  return sendExport(exchange, camera, `../api/cameras/${encodeURIComponent(camera)}/`);
}

/** Whether frames go to the disk now. */
export async function sendChannelState(exchange: Exchange): Promise<void> {
  const { stream, seq } = askedOf(exchange);
  const { recording } = await unknownIfNoName(recordingOf(exchange.archive, stream), stream);
  sendState(exchange, seq, recording);
}

/** Answers what was asked for: recording begins once the camera is there, and ends after the post-event time. */
export async function switchRecordingOf2013(exchange: Exchange, on: boolean): Promise<void> {
  const { stream, seq } = askedOf(exchange);
  const control = await unknownIfNoName(controlOf(exchange.archive, stream), stream);
  if (on) control.startRecording();
  else control.stopRecording();
  sendState(exchange, seq, control.health().wanted);
}

export async function sendUnixTime(exchange: Exchange): Promise<void> {
  sendText(exchange, 'text/plain; charset=utf-8', String(Math.floor(Date.now() / 1000)));
}

/** @throws FootageError E_QUERY */
function askedOf({ query }: Exchange): { readonly stream: string; readonly seq: string } {
  const seq = onlyOf(query, 'seq') ?? '';
  if (seq.length > MAX_SEQ_CHARACTERS) {
    throw new FootageError('E_QUERY', `"seq" is too long: give ${MAX_SEQ_CHARACTERS} characters at most.`);
  }
  return { stream: onlyOf(query, 'stream') ?? '', seq };
}

/** A name that none can have is that of an unknown stream, too. */
async function unknownIfNoName<T>(asked: Promise<T>, stream: string): Promise<T> {
  return asked.catch((error: unknown) => {
    if (!(error instanceof FootageError && error.code === 'E_CAMERA_NAME')) throw error;
    const shown = stream.slice(0, 80);
    throw new FootageError('E_CAMERA_UNKNOWN', `There is no stream "${shown}": see /api/cameras for the names.`, error);
  });
}

function sendState(exchange: Exchange, seq: string, recording: boolean): void {
  sendText(
    exchange,
    'text/html; charset=utf-8',
    `{ "seq": ${htmlSafe(JSON.stringify(seq))}, "recording": ${recording} }`,
  );
}

/** The same JSON without anything that HTML reads as a tag or an entity: browsers show this answer as a page. */
function htmlSafe(json: string): string {
  return json.replace(/[<>&]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
}

function sendText({ req, res }: Exchange, contentType: string, text: string): void {
  const body = Buffer.from(text);
  res.writeHead(200, {
    'Content-Type': contentType,
    'Content-Length': body.byteLength,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  endWith(req, res, body);
}
