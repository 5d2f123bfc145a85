/**
 * Addresses of HLS: playlists (`index.m3u8` of a range, `live.m3u8`, and `master.m3u8` for both), and the files that they
 * name, below the UUIDs of segments and runs.
 */
import { FootageError } from '../errors.ts';
import type { HlsRequest } from '../session/hls.ts';
import { parseSpan } from '../time.ts';
import { sendAnswer } from './answer.ts';
import { type Exchange, onlyOf } from './exchange.ts';

/** Behind the name of the camera. */
export const HLS_ADDRESS =
  /^\/api\/cameras\/([^/]+)\/hls\/((?:index|live|master)\.m3u8|[0-9a-f]{32}\/(?:init-[0-9a-f]{16}\.mp4|[0-9]{1,10}-[0-9]{1,10}\.m4s))$/;

/** The name of a file is its identity: it never stands for other bytes. */
const FOR_EVER = 'max-age=31536000, immutable';

/** Sends what is at an address of HLS, given behind `hls/`. */
export async function sendHls(exchange: Exchange, camera: string, address: string): Promise<void> {
  const { archive, query } = exchange;
  const isPlaylist = address.endsWith('.m3u8');
  const wanted = { camera, tracks: tracksOf(query) };
  const request = isPlaylist ? playlistAt(address, wanted, query) : fileAt(address, wanted);
  await sendAnswer(exchange, await archive.hls(request), isPlaylist ? 'no-cache' : FOR_EVER);
}

type Wanted = Pick<HlsRequest, 'camera' | 'tracks'>;

function tracksOf(query: URLSearchParams): HlsRequest['tracks'] {
  const [tracks = 'all', ...others] = query.getAll('tracks');
  if (others.length === 0 && (tracks === 'all' || tracks === 'video')) return tracks;
  throw new FootageError('E_QUERY', '"tracks" is video, once, or left out for sound as well.');
}

const KEYS = ['start', 'end', 'duration'] as const;

function playlistAt(address: string, wanted: Wanted, query: URLSearchParams): HlsRequest {
  if (address === 'live.m3u8') return { ...wanted, kind: 'live' };
  const span = () => parseSpan(Object.fromEntries(KEYS.map((key) => [key, onlyOf(query, key)])));
  if (address === 'index.m3u8') return { ...wanted, kind: 'vod', span: span() };
  const ranged = KEYS.some((key) => query.has(key));
  const known = new URLSearchParams([...query].filter(([key]) => ranged && KEYS.some((one) => one === key)));
  if (wanted.tracks !== 'all') known.set('tracks', wanted.tracks);
  const text = known.size === 0 ? '' : `?${known.toString()}`;
  const named = `${ranged ? 'index' : 'live'}.m3u8${text}`;
  return { ...wanted, kind: 'master', span: ranged ? span() : undefined, address: named };
}

function fileAt(address: string, wanted: Wanted): HlsRequest {
  const [uuid = '', name = ''] = address.split('/');
  const digest = /^init-(.*)\.mp4$/.exec(name)?.[1];
  if (digest !== undefined) return { ...wanted, kind: 'init', run: uuid, digest };
  const [from = 0, to = 0] = name.replace('.m4s', '').split('-').map(Number);
  return { ...wanted, kind: 'media', segment: uuid, from, to };
}
