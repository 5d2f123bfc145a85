/**
 * The catalog in SQLite: `ARCHIVE/catalog.db` in WAL mode, so that one process writes while others read; or in memory
 * for an archive that cannot be written. A database of another schema version is made anew from the files.
 */
import { rename } from 'node:fs/promises';
import { ioError, systemCode } from '../errors.ts';
import type { Catalog, SegmentRow, SegmentIdentity, SegmentSpan } from './catalog.ts';
import { decodeTracks, encodeTracks } from './row-tracks.ts';
import { type Database, openDatabase, type Statement } from './sqlite.ts';

export const SCHEMA_VERSION = 6;
const BUSY_TIMEOUT_MS = 5000;

const SCHEMA = `
  CREATE TABLE segments (
    id TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    path TEXT NOT NULL,
    run TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    state TEXT NOT NULL,
    start_utc_ms REAL NOT NULL,
    end_utc_ms REAL,
    generation INTEGER NOT NULL,
    recovered INTEGER NOT NULL,
    discontinuous INTEGER NOT NULL,
    payload_offset REAL,
    payload_end REAL,
    tracks TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX segments_by_time ON segments
    (camera, start_utc_ms, end_utc_ms, run, sequence, state, generation, path);
  CREATE INDEX segments_by_run ON segments (run, sequence);
  CREATE INDEX segments_by_run_start ON segments (run, state, start_utc_ms);
  CREATE INDEX segments_open ON segments (state) WHERE state = 'open';
  CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    segments TEXT NOT NULL,
    until_utc_ms REAL NOT NULL
  );
  CREATE INDEX leases_by_end ON leases (until_utc_ms);
`;

/** One step per camera through the index, not one per segment. */
const CAMERAS = `
  WITH RECURSIVE names (camera) AS (
    SELECT min(camera) FROM segments
    UNION ALL
    SELECT (SELECT min(camera) FROM segments WHERE camera > names.camera) FROM names WHERE names.camera IS NOT NULL
  )
  SELECT camera FROM names WHERE camera IS NOT NULL`;

const MEETING = `FROM segments WHERE camera = ? AND start_utc_ms < ? AND (end_utc_ms IS NULL OR end_utc_ms > ?)
  ORDER BY start_utc_ms, run, sequence`;

const PUT = `
  INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET
    camera = excluded.camera, path = excluded.path, run = excluded.run, sequence = excluded.sequence,
    state = excluded.state, start_utc_ms = excluded.start_utc_ms, end_utc_ms = excluded.end_utc_ms,
    generation = excluded.generation, recovered = excluded.recovered,
    discontinuous = excluded.discontinuous, payload_offset = excluded.payload_offset,
    payload_end = excluded.payload_end, tracks = excluded.tracks
  WHERE excluded.state = 'sealed' OR segments.state = 'open' OR segments.path <> excluded.path`;

interface RawRow {
  readonly id: string;
  readonly camera: string;
  readonly path: string;
  readonly run: string;
  readonly sequence: number;
  readonly state: 'open' | 'sealed';
  readonly start_utc_ms: number;
  readonly end_utc_ms: number | null;
  readonly generation: number;
  readonly recovered: number;
  readonly discontinuous: number;
  readonly payload_offset: number | null;
  readonly payload_end: number | null;
  readonly tracks: string;
}

function spanOf(value: unknown): SegmentSpan {
  const raw = value as Pick<RawRow, 'id' | 'path' | 'state' | 'start_utc_ms' | 'end_utc_ms' | 'generation'>;
  return {
    id: raw.id,
    path: raw.path,
    state: raw.state,
    startUtcMs: raw.start_utc_ms,
    endUtcMs: raw.end_utc_ms ?? undefined,
    repairGeneration: raw.generation,
  };
}

function rowOf(value: unknown): SegmentRow {
  const raw = value as RawRow;
  return {
    ...spanOf(raw),
    camera: raw.camera,
    run: raw.run,
    sequence: raw.sequence,
    recovered: raw.recovered === 1,
    discontinuous: raw.discontinuous === 1,
    payload: raw.payload_offset === null ? undefined : { offset: raw.payload_offset, end: raw.payload_end ?? 0 },
    tracks: decodeTracks(raw.tracks),
  };
}

/** What tells that a row is still the same: nothing else of a sealed segment changes. */
type Identity = 'state' | 'path' | 'generation';

function isSame(row: SegmentRow, seen: Pick<RawRow, Identity>): boolean {
  return row.state === seen.state && row.path === seen.path && row.repairGeneration === seen.generation;
}

/** More rows than these are quicker read all at once than one by one. */
const MANY_ROWS = 32;

/** Rows that are kept decoded, about 2 kB each: a year and a half of segments of an hour. */
const MAX_DECODED = 16_384;

export class SqliteCatalog implements Catalog {
  readonly #database: Database;
  readonly #statements = new Map<string, Statement>();
  /** Rows of sealed segments that were asked for lately. */
  readonly #decoded = new Map<string, SegmentRow>();
  #version = 0;
  /** What SQLite counts: commits of other connections. Ours are counted in `#version` alone. */
  #dataVersion: number | undefined;

  private constructor(database: Database) {
    this.#database = database;
  }

  /** Opens or creates the database; `:memory:` for one that dies with the process. */
  static open(path: string): SqliteCatalog {
    const database = openDatabase(path, BUSY_TIMEOUT_MS);
    try {
      // Nothing in here is the only copy: losing the last commits at a power cut costs a look at the files.
      if (path !== ':memory:') database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
      migrate(database);
    } catch (error) {
      database.close();
      throw error;
    }
    return new SqliteCatalog(database);
  }

  #prepare(sql: string): Statement {
    const known = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }

  version(): number {
    const { data_version } = this.#prepare('PRAGMA data_version').get() as { data_version: number };
    if (data_version !== this.#dataVersion) this.#version++;
    this.#dataVersion = data_version;
    return this.#version;
  }

  cameras(): string[] {
    const rows = this.#prepare(CAMERAS).all();
    return rows.map((row) => (row as { camera: string }).camera);
  }

  has(camera: string): boolean {
    return this.#prepare('SELECT 1 FROM segments WHERE camera = ? LIMIT 1').get(camera) !== undefined;
  }

  spans(camera: string, startUtcMs: number, endUtcMs: number): SegmentSpan[] {
    const sql = `SELECT id, path, state, start_utc_ms, end_utc_ms, generation ${MEETING}`;
    return this.#prepare(sql).all(camera, endUtcMs, startUtcMs).map(spanOf);
  }

  find(camera: string, id: string): SegmentSpan | undefined {
    const row = this.#prepare('SELECT * FROM segments WHERE camera = ? AND id = ?').get(camera, id);
    return row === undefined ? undefined : spanOf(row);
  }

  segments(camera: string, startUtcMs: number, endUtcMs: number): SegmentRow[] {
    const sql = `SELECT id, path, state, generation ${MEETING}`;
    const seen = this.#prepare(sql).all(camera, endUtcMs, startUtcMs) as Pick<RawRow, 'id' | Identity>[];
    const missing = seen.filter((one) => this.#known(one) === undefined);
    if (missing.length > MANY_ROWS) {
      const raws = this.#prepare(`SELECT * ${MEETING}`).all(camera, endUtcMs, startUtcMs) as RawRow[];
      const rows = raws.map((raw) => this.#known(raw) ?? rowOf(raw));
      this.#remember(rows);
      return rows;
    }
    const rows = seen.flatMap((one) => this.#known(one) ?? this.#decode(one.id) ?? []);
    if (missing.length > 0) this.#remember(rows);
    return rows;
  }

  /** Undefined if the row was removed meanwhile. */
  #decode(id: string): SegmentRow | undefined {
    const raw = this.#prepare('SELECT * FROM segments WHERE id = ?').get(id);
    return raw === undefined ? undefined : rowOf(raw);
  }

  /** The row as it was decoded before, if it is still the same. */
  #known(seen: Pick<RawRow, 'id' | Identity>): SegmentRow | undefined {
    const known = this.#decoded.get(seen.id);
    return known !== undefined && isSame(known, seen) ? known : undefined;
  }

  /**
   * Rows of sealed segments are decoded once: a month of a camera has a thousand. Those that are asked for together are
   * kept together, so that the same question finds them again; of more than fit in, the first ones.
   */
  #remember(rows: readonly SegmentRow[]): void {
    for (const row of rows.slice(0, MAX_DECODED)) {
      if (row.state === 'open') continue;
      this.#decoded.delete(row.id);
      this.#decoded.set(row.id, row);
    }
    for (const oldest of this.#decoded.keys()) {
      if (this.#decoded.size <= MAX_DECODED) break;
      this.#decoded.delete(oldest);
    }
  }

  runStart(run: string): number {
    const sql = "SELECT MIN(start_utc_ms) AS start FROM segments WHERE run = ? AND state = 'sealed'";
    return (this.#prepare(sql).get(run) as { start: number | null }).start ?? Infinity;
  }

  neighbour(run: string, sequence: number, direction: -1 | 1): SegmentRow | undefined {
    const which = direction < 0 ? '< ? ORDER BY sequence DESC' : '> ? ORDER BY sequence';
    const found = this.#prepare(`SELECT * FROM segments WHERE run = ? AND sequence ${which} LIMIT 1`);
    const raw = found.get(run, sequence) as RawRow | undefined;
    if (raw === undefined) return undefined;
    const known = this.#known(raw);
    const row = known ?? rowOf(raw);
    if (known === undefined) this.#remember([row]);
    return row;
  }

  identities(): SegmentIdentity[] {
    return this.#prepare('SELECT id, path, state FROM segments').all() as SegmentIdentity[];
  }

  together(changes: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      changes();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  all(camera?: string): SegmentRow[] {
    const order = 'ORDER BY camera, start_utc_ms, run, sequence';
    if (camera === undefined) return this.#prepare(`SELECT * FROM segments ${order}`).all().map(rowOf);
    return this.#prepare(`SELECT * FROM segments WHERE camera = ? ${order}`).all(camera).map(rowOf);
  }

  open(): SegmentRow[] {
    return this.#prepare("SELECT * FROM segments WHERE state = 'open' ORDER BY camera, start_utc_ms").all().map(rowOf);
  }

  put(row: SegmentRow): void {
    this.#version++;
    this.#prepare(PUT).run(
      row.id,
      row.camera,
      row.path,
      row.run,
      row.sequence,
      row.state,
      row.startUtcMs,
      row.endUtcMs ?? null,
      row.repairGeneration,
      row.recovered ? 1 : 0,
      row.discontinuous ? 1 : 0,
      row.payload?.offset ?? null,
      row.payload?.end ?? null,
      encodeTracks(row.tracks),
    );
  }

  remove(id: string): void {
    this.#version++;
    this.#prepare('DELETE FROM segments WHERE id = ?').run(id);
  }

  lease(id: string, segments: readonly string[], nowUtcMs: number, untilUtcMs: number): void {
    if (segments.length === 0) return;
    const insert = this.#prepare('INSERT OR REPLACE INTO leases VALUES (?, ?, ?)');
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      this.#forgetLeases(nowUtcMs);
      insert.run(id, segments.join(' '), untilUtcMs);
      this.#database.exec('COMMIT');
    } catch (error) {
      rollBack(this.#database);
      throw error;
    }
  }

  leased(nowUtcMs: number): Set<string> {
    this.#forgetLeases(nowUtcMs);
    const rows = this.#prepare('SELECT segments FROM leases').all();
    return new Set(rows.flatMap((row) => (row as { segments: string }).segments.split(' ')));
  }

  #forgetLeases(nowUtcMs: number): void {
    this.#prepare('DELETE FROM leases WHERE until_utc_ms <= ?').run(nowUtcMs);
  }

  close(): void {
    this.#database.close();
  }
}

/** SQLite has rolled back by itself after some errors (a full disk); then there is no transaction any more. */
function rollBack(database: Database): void {
  try {
    database.exec('ROLLBACK');
  } catch (error) {
    if (!/no transaction is active/.test(String(error))) throw error;
  }
}

function migrate(database: Database): void {
  database.exec('BEGIN IMMEDIATE');
  const version = (database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
  if (version !== SCHEMA_VERSION) {
    database.exec('DROP TABLE IF EXISTS segments; DROP TABLE IF EXISTS leases;');
    database.exec(SCHEMA);
    database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  }
  database.exec('COMMIT');
}

/**
 * The catalog in the file at `path`, or one in memory. It is a cache: a damaged file is set aside and made anew.
 * @throws FootageError E_NO_SQLITE, E_READ_ONLY, E_IO
 */
export async function openCatalog(path: string | undefined): Promise<Catalog> {
  if (path === undefined) return SqliteCatalog.open(':memory:');
  try {
    return SqliteCatalog.open(path);
  } catch (error) {
    if (!isDamage(error)) throw ioError(error, `opening the catalog ${path}`);
    await setCatalogAside(path);
    return SqliteCatalog.open(path);
  }
}

/** Renames a damaged database, so that the next one is made anew from the files; returns its name. */
export async function setCatalogAside(path: string): Promise<string> {
  const aside = `${path}.damaged-${Date.now()}`;
  await rename(path, aside);
  process.emitWarning(`The catalog was damaged and is made anew from the files; the old one is ${aside}.`, {
    code: 'FOOTAGE_CATALOG_DAMAGED',
  });
  return aside;
}

/** Whether the error says that the database itself is broken. */
export function isDamage(error: unknown): boolean {
  return /SQLITE_NOTADB|SQLITE_CORRUPT|not a database|malformed/.test(`${systemCode(error)} ${String(error)}`);
}
