/**
 * The top level of an MP4 or QuickTime file (ISO/IEC 14496-12 4.2, 8.8): finds `moov` and the fragments behind it by
 * hopping from box to box, and reads the movie out of them.
 *
 * It never reads media bytes beyond a small window around each box header.
 *
 * Invariant: a plain file that is cut off is E_INPUT_TRUNCATED. A fragmented one is read as far as it is whole,
 * because that is what fragments are for, and `skipped` says what is missing.
 */
import { FootageError } from '../errors.ts';
import { damaged, fourccAt, parseBoxHeader, printableFourcc } from './box.ts';
import type { BoxHeader } from './box.ts';
import { changedDescription } from './fragments.ts';
import { ACCEPTED, MovieReader, cutOff } from './reader.ts';
import type { Movie } from './reader.ts';

/** Reads up to `length` bytes at `offset`; fewer only at the end of the file. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

export interface LocatedMovie {
  /** Body of `moov`, without its header. */
  readonly moov: Uint8Array;
  /** Where the box `moov` begins in the file. */
  readonly moovOffset: number;
  /** Where each whole `moof` begins, in order of the file. */
  readonly fragments: readonly number[];
  /** What is wrong with the end of a fragmented file, as one readable line. */
  readonly badEnd: string | undefined;
}

/** Types a file may begin with (14496-12 and QuickTime); anything else is no MP4. */
const FIRST_TYPES: readonly string[] = [
  ...['ftyp', 'moov', 'mdat', 'free', 'skip', 'wide', 'pnot', 'uuid'],
  ...['styp', 'sidx', 'prft', 'emsg', 'moof'],
];

/** More boxes at top level than any real progressive file has, and than any real file has per fragment. */
const MAX_TOP_LEVEL = 4096;
const MAX_PER_FRAGMENT = 64;
/** A `moov` of eleven days of one camera; a larger one is refused before it is read. */
const MAX_INDEX_BYTES = 0x4000_0000;
/** What is read at each header: most fragments' `moof` fits, with the header of its `mdat`. */
const WINDOW_BYTES = 4096;

/** Reads the movie of a file, fragments included. Errors: those of `locateMovie` and `readMovie`. */
export async function readMovieFile(read: ReadAt, fileSize: number): Promise<Movie> {
  const { moov, fragments, badEnd } = await locateMovie(read, fileSize);
  const reader = new MovieReader(moov, fileSize);
  const windowed = throughWindow(read);
  for (const start of fragments) {
    const { body, end } = await readBox(windowed, start, fileSize);
    reader.addFragment(body, { start, end });
  }
  const movie = reader.finish();
  return badEnd === undefined ? movie : { ...movie, skipped: [...movie.skipped, badEnd] };
}

/**
 * Finds and reads `moov`, wherever it is, by walking the boxes at top level, and finds the fragments.
 *
 * Errors: no MP4 at all, E_INPUT_FORMAT; `moov` missing, or any of its neighbours cut off, E_INPUT_TRUNCATED;
 * fragments without a `moov` before them, or with several that differ, E_INPUT_UNSUPPORTED.
 */
export async function locateMovie(read: ReadAt, fileSize: number): Promise<LocatedMovie> {
  if (fileSize === 0) throw new FootageError('E_INPUT_FORMAT', `The file is empty. ${ACCEPTED}`);
  const walk = new TopLevelWalk(throughWindow(read), fileSize);
  let at = 0;
  while (at < fileSize) at = await walk.step(at);
  return walk.finish();
}

/** `read` with a memory of the last bytes read: headers are close together where fragments are small. */
function throughWindow(read: ReadAt): ReadAt {
  let windowStart = 0;
  let bytes: Uint8Array = new Uint8Array(0);
  return async (offset, length) => {
    const inside = offset >= windowStart && offset + length <= windowStart + bytes.length;
    if (!inside) {
      bytes = await read(offset, Math.max(length, WINDOW_BYTES));
      windowStart = offset;
    }
    return bytes.subarray(offset - windowStart, offset - windowStart + length);
  };
}

/** One walk over a file. `step` handles the box at a position and returns where the next one begins. */
class TopLevelWalk {
  readonly #read: ReadAt;
  readonly #fileSize: number;
  readonly #fragments: number[] = [];
  #moov: { readonly body: Uint8Array; readonly offset: number } | undefined;
  #boxes = 0;
  #badEnd: string | undefined;

  constructor(read: ReadAt, fileSize: number) {
    this.#read = read;
    this.#fileSize = fileSize;
  }

  async step(at: number): Promise<number> {
    this.#boxes += 1;
    if (this.#boxes > MAX_TOP_LEVEL + MAX_PER_FRAGMENT * this.#fragments.length) {
      throw damaged(`more than ${MAX_TOP_LEVEL} boxes at top level`);
    }
    const bytes = await this.#read(at, Math.min(16, this.#fileSize - at));
    if (!beginsBox(bytes, at)) return this.#noBoxHere(at);
    const header = parseBoxHeader(bytes);
    if (header === undefined)
      return this.#tornAt(fourccAt(bytes, 4), `it ends inside the header of '${fourccAt(bytes, 4)}'`);
    const end = endOfBox(header, at, this.#fileSize);
    if (end > this.#fileSize) return this.#tornAt(header.type, tornBox(header, at, this.#fileSize));
    if (header.type === 'moof') this.#addFragment(at);
    if (header.type === 'moov') await this.#addMovie(at);
    return end;
  }

  #addFragment(at: number): void {
    if (this.#moov !== undefined) this.#fragments.push(at);
    else {
      throw new FootageError(
        'E_INPUT_UNSUPPORTED',
        'The file is a piece of a fragmented MP4 without its init segment; put them together with: ' +
          'cat INIT.mp4 SEGMENT.m4s > WHOLE.mp4',
      );
    }
  }

  async #addMovie(at: number): Promise<void> {
    if (this.#moov !== undefined && this.#fragments.length === 0) return;
    const { body } = await readBox(this.#read, at, this.#fileSize);
    if (this.#moov === undefined) this.#moov = { body, offset: at };
    // Segments that are joined may each bring the same init segment.
    else if (!equalBytes(body, this.#moov.body)) throw changedDescription();
  }

  /** Bytes behind the movie that are no box (padding, appended data) harm nothing; fragments may miss there. */
  #noBoxHere(at: number): number {
    const rest = this.#fileSize - at;
    if (this.#moov === undefined && at === 0) {
      throw new FootageError('E_INPUT_FORMAT', `This is not an MP4 or MOV file. ${ACCEPTED}`);
    }
    if (this.#moov === undefined && rest < 8) throw cutOff('it ends inside the header of a box');
    if (this.#moov === undefined) throw damaged(`no box begins at byte ${at}, and no 'moov' (index) comes before it`);
    if (this.#fragments.length > 0) this.#badEnd = `the last ${rest} bytes, at byte ${at}, which are no whole box`;
    return this.#fileSize;
  }

  /** The file is cut off: the end of a plain one, and the last that is read of a fragmented one. */
  #tornAt(type: string, detail: string): number {
    const fragmented = this.#fragments.length > 0 || (this.#moov !== undefined && type === 'moof');
    if (!fragmented) throw cutOff(detail);
    this.#badEnd = `the end of the file, which is cut off: ${detail}`;
    return this.#fileSize;
  }

  finish(): LocatedMovie {
    if (this.#moov === undefined) throw cutOff(`it has no 'moov' (index), so it was never finished or lost its end`);
    const { body, offset } = this.#moov;
    return { moov: body, moovOffset: offset, fragments: this.#fragments, badEnd: this.#badEnd };
  }
}

function beginsBox(bytes: Uint8Array, at: number): boolean {
  const type = fourccAt(bytes, 4);
  if (bytes.length < 8 || printableFourcc(type) !== type) return false;
  return at > 0 || FIRST_TYPES.includes(type);
}

function endOfBox(header: BoxHeader, at: number, fileSize: number): number {
  return header.size === 0 ? fileSize : at + header.size;
}

function tornBox(header: BoxHeader, at: number, fileSize: number): string {
  const end = endOfBox(header, at, fileSize);
  return `'${header.type}' at byte ${at} should reach to byte ${end}, the file ends at ${fileSize}`;
}

/** The body of the whole box at `at`, which is known to begin there, and where the box ends. */
async function readBox(read: ReadAt, at: number, fileSize: number): Promise<{ body: Uint8Array; end: number }> {
  const header = parseBoxHeader(await read(at, Math.min(16, fileSize - at)));
  if (header === undefined) throw shrunk();
  const end = endOfBox(header, at, fileSize);
  const length = end - at - header.headerBytes;
  if (length > MAX_INDEX_BYTES) {
    throw new FootageError('E_INPUT_UNSUPPORTED', `The index of the file has ${length} bytes, more than 1 GiB.`);
  }
  const body = await read(at + header.headerBytes, length);
  if (body.length < length) throw shrunk();
  return { body, end };
}

function shrunk(): FootageError {
  return cutOff('it became shorter while it was read');
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
