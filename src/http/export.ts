/**
 * The answers that are made of footage: a range of a camera as a file, and the manifest of the same range.
 */
import type { Session } from '../session/session.ts';
import { type Fields, lastModifiedOf, sendAnswer } from './answer.ts';
import { type Exchange, sendJson } from './exchange.ts';
import { type ExportOptions, parseExportQuery, queryOfPart, sameQuery } from './export-query.ts';

/** One plan, and what was asked for it. */
interface Planned {
  readonly session: Session;
  readonly options: ExportOptions;
}

async function plan({ query, archive }: Exchange, camera: string): Promise<Planned> {
  const options = parseExportQuery(query);
  return { options, session: await archive.session({ camera, ...options }) };
}

/** Sends the footage; `api` leads from the address of the request to that of `export.json`. */
export async function sendExport(exchange: Exchange, camera: string, api = ''): Promise<void> {
  const planned = await plan(exchange, camera);
  await sendAnswer(exchange, planned.session, 'no-cache', describe(planned, camera, exchange.query, api));
}

/** The fields that tell what footage it is. */
function describe(planned: Planned, camera: string, query: URLSearchParams, api: string): Fields {
  return {
    'Content-Disposition': `${query.has('download') ? 'attachment' : 'inline'}; filename="${fileName(camera, planned)}"`,
    Link: linksOf(planned.session, query, api),
  };
}

/** The manifest, and the part that follows where the answer is split. */
function linksOf({ manifest: { part, parts } }: Session, query: URLSearchParams, api: string): string {
  const manifest = `<${api}export.json?${sameQuery(query)}>; rel="describedby"; type="application/json"`;
  return part < parts ? `${manifest}, <${api}export.mp4?${queryOfPart(query, part + 1)}>; rel="next"` : manifest;
}

/** `door_2026-01-31T12-00-00Z_90s.mp4`: camera, start and length of what was asked, and what makes it another file. */
function fileName(camera: string, { session, options }: Planned): string {
  const { startUtcMs, endUtcMs } = session.manifest.asked;
  const start = new Date(startUtcMs).toISOString().replace('.000', '').replaceAll(':', '-');
  const { tracks, keyframes, part } = options;
  const only = [tracks, keyframes === true ? 'keyframes' : undefined, part === undefined ? undefined : `part${part}`];
  const words = [camera, start, `${Math.round(endUtcMs - startUtcMs) / 1000}s`, ...only];
  return `${words.filter((word) => word !== undefined).join('_')}.mp4`;
}

/** What was asked, what is delivered and what is missing: the manifest of the footage at `export.mp4`. */
export async function sendManifest(exchange: Exchange, camera: string): Promise<void> {
  const { req, res, query } = exchange;
  const { session } = await plan(exchange, camera);
  const lastModifiedUtcMs = lastModifiedOf(session);
  sendJson(req, res, 200, {
    ...session.manifest,
    lengthBytes: session.length,
    etag: session.etag,
    lastModified: lastModifiedUtcMs === undefined ? undefined : new Date(lastModifiedUtcMs).toISOString(),
    href: `export.mp4?${sameQuery(query)}`,
  });
}
