/** `footage inspect`: the anatomy of one segment. */
import { native } from '../native.ts';
import { nodeDisk } from '../segment/disk.ts';
import { type Anatomy, inspectSegment, tablesOf } from '../segment/inspect.ts';
import { iso, printJson } from './support.ts';

interface InspectFlags {
  readonly records?: true;
  readonly json?: true;
}

export async function runInspect(file: string, { records, json }: InspectFlags): Promise<void> {
  const anatomy = await inspectSegment(file, { disk: nodeDisk, native }, records === true);
  if (json === true) return printJson(anatomy);
  process.stdout.write(`${linesOf(anatomy).join('\n')}\n`);
}

function linesOf(anatomy: Anatomy): string[] {
  const { bytes, state, boxes, list = [], problems, unexplainedBytes } = anatomy;
  return [
    `${state}, ${bytes} bytes, ${unexplainedBytes} of them in no record`,
    ...boxes.map(({ type, offset, length }) => `box ${type} at ${offset}, ${length} bytes`),
    ...headLines(anatomy),
    ...Object.entries(anatomy.records).map(
      ([type, { count, bytes: size, frames }]) => `${type}: ${count} records, ${size} bytes, ${frames} frames`,
    ),
    ...anatomy.groupsOfPictures.map(
      ({ track, dts, offset, frames, bytes: size }) =>
        `group of pictures: track ${track}, DTS ${dts}, at ${offset}, ${frames} frames, ${size} bytes`,
    ),
    ...endLines(anatomy),
    ...list.map(
      ({ type, offset, length, track, dts, sync, frames, cameraUtcMs }) =>
        `record ${offset}: ${type}, ${length} bytes, track ${track}, DTS ${dts}, ${frames} frames${sync ? ', sync' : ''}` +
        (cameraUtcMs === undefined ? '' : `, ${iso(cameraUtcMs)} by the camera's clock`),
    ),
    ...(problems.length === 0 ? ['no problem'] : []),
    ...problems.map(({ code, from, to, message }) => `${code}: ${message} (bytes ${from} to ${to})`),
  ];
}

function headLines({ head, tracks }: Anatomy): string[] {
  if (head === null) return ['no head'];
  const { segment, camera, run, sequence, anchor } = head;
  return [
    `segment ${segment}, camera ${camera}`,
    `run ${run}, number ${sequence} of it`,
    `anchor: DTS ${anchor.dts} of track ${anchor.track} is ${iso(anchor.utcMs)}`,
    ...head.tracks.map(
      ({ kind, timescale }, i) => `track ${i}: ${kind}, ${timescale} ticks per second${factsOf(tracks[i])}`,
    ),
  ];
}

function factsOf(track: object | undefined): string {
  const facts = Object.entries(track ?? {}).filter(([name]) => name !== 'kind' && name !== 'timescale');
  return facts.map(([name, value]) => `, ${name} ${String(value)}`).join('');
}

function endLines({ index, trailer }: Anatomy): string[] {
  const block =
    index && `pseudo-header: ${index.bytes} bytes, ${index.blocks} blocks that describe the records up to ${index.to}`;
  const lines = block === null ? [] : [block];
  if (trailer === null) return lines;
  const { moov, startUtcMs, endUtcMs, repairGeneration, recovered, discontinuous } = trailer;
  const flags = [recovered && ', sealed by recovery or repair', discontinuous && ', not continuous'];
  return [
    ...lines,
    `moov at ${moov.offset}, ${moov.length} bytes`,
    `trailer: ${iso(startUtcMs)} to ${iso(endUtcMs)}, repair generation ${repairGeneration}${flags.filter(Boolean).join('')}`,
    ...tablesOf(trailer).flatMap((tables, track) =>
      tables.map(
        ({ name, offset, length, count }) => `track ${track}: ${name} at ${offset}, ${length} bytes, ${count} entries`,
      ),
    ),
  ];
}
