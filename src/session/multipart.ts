/**
 * Several ranges of a virtual file as one: the body of a multipart/byteranges answer (RFC 9110 14.6). Its own bytes are the
 * headers of the parts; what lies between them is taken from the file when it is reached.
 */
import { createHash } from 'node:crypto';
import { type ByteRange, type Slice, VirtualFile } from './virtual-file.ts';

export interface Multipart {
  /** With the boundary. */
  readonly contentType: string;
  readonly body: VirtualFile;
}

/** @throws RangeError for a range that is empty or outside of the file, or for none at all */
export function multipartOf(file: VirtualFile, ranges: readonly ByteRange[], partType: string): Multipart {
  if (ranges.length === 0) throw new RangeError('several ranges are at least one');
  for (const { start, end } of ranges) {
    if (!(start >= 0 && start < end && end <= file.length)) {
      throw new RangeError(`the range ${start}..${end} is empty, or does not lie in 0..${file.length}`);
    }
  }
  const boundary = boundaryOf(file, ranges);
  const parts = ranges.flatMap((range, i): Slice[] => {
    const header = [`--${boundary}`, `Content-Type: ${partType}`, contentRange(range, file.length), '', ''];
    return [text((i === 0 ? '' : '\r\n') + header.join('\r\n')), partOf(file, range)];
  });
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    body: new VirtualFile([...parts, text(`\r\n--${boundary}--\r\n`)], file.etag, file.lastModifiedUtcMs),
  };
}

const text = (latin1: string): Slice => ({ kind: 'bytes', data: Buffer.from(latin1, 'latin1') });

const contentRange = ({ start, end }: ByteRange, length: number) =>
  `Content-Range: bytes ${start}-${end - 1}/${length}`;

function partOf(file: VirtualFile, { start, end }: ByteRange): Slice {
  const read = (from: number, to: number) => file.slices({ start: start + from, end: start + to });
  return { kind: 'computed', length: end - start, read };
}

/** Decided by the answer alone, so the same request has the same bytes each time; 160 bits that no footage holds. */
function boundaryOf({ etag }: VirtualFile, ranges: readonly ByteRange[]): string {
  const request = JSON.stringify([etag, ranges.map(({ start, end }) => [start, end])]);
  return createHash('sha256').update(request).digest('hex').slice(0, 40);
}
