/**
 * Frame scan by positioned reads on Node's thread pool. Twin of native/scan.cc, which states when a record is valid;
 * same results byte for byte.
 */
import { fstat, read } from 'node:fs';
import { promisify } from 'node:util';
import { DELIMITER_BYTES, type ScanRequest, type ScanResult } from '../native-types.ts';
import { crc32c } from './crc32c.ts';

const MAGIC = 0xf546544d;
const MAGIC_BYTES = Buffer.from([0xf5, 0x46, 0x54, 0x4d]);
const MAX_PAYLOAD = 1 << 20;
/** A read from JavaScript costs more than copying this much: small windows would cost a hop of the pool per record. */
const SMALL_WINDOW = 256 << 10;
const LARGE_WINDOW = 512 << 10;
const BUFFER_BYTES = MAX_PAYLOAD + DELIMITER_BYTES;

/** What a disk fails to read at once, at the most: a page. */
const BLOCK_BYTES = 4096;
/** Of which so many in one scan are bad sectors; more is a disk that is gone, and may come back. */
const MAX_SKIPPED = 256;

const TYPE = { head: 1, configuration: 2, anchor: 3, group: 5, end: 7 } as const;

const fstatAsync = promisify(fstat);
const readAsync = promisify(read);

function abortError(): Error {
  const error = new Error('The scan was cancelled');
  error.name = 'AbortError';
  return Object.assign(error, { code: 'ABORT_ERR' });
}

/** What is scanned: a file, or what stands for one. */
export interface ScanSource {
  /** Bytes that there are; Infinity if that is not known. */
  readonly size: number;
  /** As that of `FileHandle`: may read less than asked for, 0 at the end. */
  read(into: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
}

/** The part of the file that is in memory. */
class Window {
  readonly #source: ScanSource;
  readonly #tolerant: boolean;
  #skipped = 0;
  readonly #buffer: Buffer;
  #start = 0;
  #size = 0;
  /** Nothing at or behind it is read. */
  end: number;

  /** `tolerant`: bytes that the disk cannot read are zeros, in which nothing is valid; otherwise they end the scan. */
  constructor(source: ScanSource, from: number, end: number, tolerant: boolean) {
    this.#source = source;
    this.#tolerant = tolerant;
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(BUFFER_BYTES, Math.max(0, end - from)));
    this.end = end;
  }

  holds(at: number, length: number): boolean {
    return at >= this.#start && at + length <= this.#start + this.#size;
  }

  /** Bytes [at, at + length); reads `ahead` bytes if it has to read. Undefined if the file ends before. */
  async get(at: number, length: number, ahead: number): Promise<Buffer | undefined> {
    if (at + length > this.end) return undefined;
    if (!this.holds(at, length)) await this.#fill(at, Math.max(length, ahead));
    if (!this.holds(at, length)) return undefined;
    return this.#buffer.subarray(at - this.#start, at - this.#start + length);
  }

  /** All bytes in memory from `at` on. */
  heldFrom(at: number): Buffer {
    return this.#buffer.subarray(at - this.#start, this.#size);
  }

  /** Reads behind what is held; of what cannot be read the rest of its block is taken as zeros. */
  async #read(position: number, length: number): Promise<number> {
    try {
      return (await this.#source.read(this.#buffer, this.#size, length, position)).bytesRead;
    } catch (error) {
      const isBadSector = (error as NodeJS.ErrnoException).code === 'EIO' && this.#skipped < MAX_SKIPPED;
      if (!this.#tolerant || !isBadSector) throw error;
      this.#skipped++;
      const skipped = Math.min(length, BLOCK_BYTES - (position % BLOCK_BYTES));
      this.#buffer.fill(0, this.#size, this.#size + skipped);
      return skipped;
    }
  }

  async #fill(at: number, ahead: number): Promise<void> {
    const want = Math.min(ahead, this.#buffer.length, this.end - at);
    this.#start = at;
    this.#size = 0;
    while (this.#size < want) {
      const bytesRead = await this.#read(at + this.#size, want - this.#size);
      if (bytesRead === 0) {
        this.end = at + this.#size; // truncated meanwhile
        return;
      }
      this.#size += bytesRead;
    }
  }
}

/** A scan, whatever it reads. */
type SourceScan = Omit<ScanRequest, 'fd'>;

class Scanner {
  readonly #request: SourceScan;
  readonly #window: Window;
  readonly #records: Buffer[] = [];
  readonly #offsets: number[] = [];
  readonly #damaged: number[] = [];
  #pos: number;
  #ahead = SMALL_WINDOW;
  #hits = 0;

  constructor(source: ScanSource, request: SourceScan) {
    this.#request = request;
    this.#window = new Window(
      source,
      request.from,
      Math.min(request.to, source.size),
      request.verify || request.resync,
    );
    this.#pos = request.from;
  }

  async run(): Promise<ScanResult> {
    const stop = await this.#loop();
    return {
      records: new Uint8Array(Buffer.concat(this.#records)),
      offsets: Float64Array.from(this.#offsets),
      next: this.#pos,
      stop,
      damaged: Float64Array.from(this.#damaged),
    };
  }

  async #loop(): Promise<ScanResult['stop']> {
    while (this.#pos < this.#window.end) {
      this.#pollCancel();
      if (this.#offsets.length >= this.#request.limit) return 'limit';
      if (await this.#take(this.#pos, this.#request.verify)) continue;
      if (!this.#request.resync) return 'damage';
      await this.#search();
    }
    return 'end';
  }

  /** Takes the record at `at` and moves behind it; false if there is no valid one. */
  async #take(at: number, checkPayload: boolean): Promise<boolean> {
    this.#adapt(at);
    const bytes = await this.#window.get(at, DELIMITER_BYTES, this.#ahead);
    if (bytes === undefined || !this.#headerHolds(bytes)) return false;
    const record = Buffer.from(bytes);
    const length = record.readUInt32BE(8);
    if (length > this.#window.end - at - DELIMITER_BYTES) return false;
    if (checkPayload && !(await this.#payloadHolds(at, record))) return false;
    const shown = await this.#shownPayload(at, record);
    if (shown === undefined) return false;
    this.#records.push(record, shown);
    this.#offsets.push(at);
    this.#pos = at + DELIMITER_BYTES + length;
    return true;
  }

  /** Sets how much the next read takes: more while records are small, all when everything is read anyway. */
  #adapt(at: number): void {
    if (this.#request.verify) {
      this.#ahead = LARGE_WINDOW;
    } else if (this.#window.holds(at, DELIMITER_BYTES)) {
      this.#hits++;
    } else {
      this.#ahead = this.#hits > 1 ? Math.min(this.#ahead * 2, LARGE_WINDOW) : Math.max(this.#ahead / 2, SMALL_WINDOW);
      this.#hits = 0;
    }
  }

  #headerHolds(bytes: Buffer): boolean {
    if (bytes.readUInt32BE(0) !== MAGIC) return false;
    return crc32c(bytes.subarray(0, 28), this.#request.seed) === bytes.readUInt32BE(28);
  }

  async #payloadHolds(at: number, record: Buffer): Promise<boolean> {
    let crc = 0;
    let from = at + DELIMITER_BYTES;
    for (let left = record.readUInt32BE(8); left > 0;) {
      this.#pollCancel();
      if ((await this.#window.get(from, 1, LARGE_WINDOW)) === undefined) return false;
      const held = this.#window.heldFrom(from);
      const part = held.subarray(0, Math.min(left, held.length));
      crc = crc32c(part, crc);
      from += part.length;
      left -= part.length;
    }
    return crc === record.readUInt32BE(24);
  }

  /** A copy of what the caller is given of the payload; undefined if the payload breaks its type's rules. */
  async #shownPayload(at: number, record: Buffer): Promise<Buffer | undefined> {
    const length = record.readUInt32BE(8);
    switch (record[4]) {
      case TYPE.head:
      case TYPE.configuration:
      case TYPE.anchor:
      case TYPE.end:
        return length > MAX_PAYLOAD ? undefined : this.#copy(at + DELIMITER_BYTES, length);
      case TYPE.group:
        return length > MAX_PAYLOAD ? undefined : this.#groupTable(at + DELIMITER_BYTES, length);
      default: // frame, void, and types of later versions
        return Buffer.alloc(0);
    }
  }

  async #copy(at: number, length: number): Promise<Buffer | undefined> {
    if (length === 0) return Buffer.alloc(0);
    const bytes = await this.#window.get(at, length, this.#ahead);
    return bytes === undefined ? undefined : Buffer.from(bytes);
  }

  async #groupTable(at: number, length: number): Promise<Buffer | undefined> {
    if (length < 4) return undefined;
    const count = await this.#window.get(at, 4, this.#ahead);
    if (count === undefined) return undefined;
    const tableBytes = 4 + 8 * count.readUInt32BE(0);
    if (tableBytes > length) return undefined;
    const table = await this.#copy(at, tableBytes);
    if (table === undefined) return undefined;
    let sum = tableBytes;
    for (let entry = 4; entry < tableBytes; entry += 8) sum += table.readUInt32BE(entry);
    return sum === length ? table : undefined;
  }

  /** Goes on to the next valid record behind the position, or to the end, and notes what was passed over. */
  async #search(): Promise<void> {
    const from = this.#pos;
    let at = await this.#nextMagic(from + 1);
    while (at !== undefined && !(await this.#take(at, true))) at = await this.#nextMagic(at + 1);
    if (at === undefined) this.#pos = Math.max(from, this.#window.end);
    this.#damaged.push(from, at ?? this.#pos);
  }

  /** The next magic at or behind `at`, undefined if there is none before the end. */
  async #nextMagic(from: number): Promise<number | undefined> {
    for (let at = from; ;) {
      this.#pollCancel();
      if ((await this.#window.get(at, MAGIC_BYTES.length, LARGE_WINDOW)) === undefined) return undefined;
      const held = this.#window.heldFrom(at);
      const hit = held.indexOf(MAGIC_BYTES);
      if (hit >= 0) return at + hit;
      at += held.length - (MAGIC_BYTES.length - 1);
    }
  }

  #pollCancel(): void {
    const { cancel } = this.#request;
    if (cancel !== undefined && Atomics.load(cancel, 0) !== 0) throw abortError();
  }
}

/** See `Native.scan`. */
export async function scan(request: ScanRequest): Promise<ScanResult> {
  const stats = await fstatAsync(request.fd);
  return scanSource(
    {
      size: stats.isFile() ? stats.size : Infinity,
      read: (into, offset, length, position) => readAsync(request.fd, into, offset, length, position),
    },
    request,
  );
}

/** The same of anything that can be read. */
export function scanSource(source: ScanSource, request: SourceScan): Promise<ScanResult> {
  return new Scanner(source, request).run();
}
