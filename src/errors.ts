/**
 * Every error a user can meet: one class, one table of stable codes.
 * `docs/errors.md` says what to do about each; a test holds table and page against each other.
 *
 * Operational failures are a `FootageError`; a caller's mistake in code (wrong type, unknown option) is a plain
 * `TypeError` or `RangeError`.
 */

/** What a code means to the outside: the status of an HTTP answer and the exit status of the command line. */
interface CodeMeaning {
  readonly http: number;
  readonly exit: 1 | 2;
}

export const ERROR_CODES = {
  E_ARCHIVE_MISSING: { http: 500, exit: 1 },
  E_BODY_SIZE: { http: 413, exit: 1 },
  E_CAMERA_AUTH: { http: 502, exit: 1 },
  E_CAMERA_BUSY: { http: 409, exit: 1 },
  E_CAMERA_LOST: { http: 502, exit: 1 },
  E_CAMERA_NAME: { http: 400, exit: 2 },
  E_CAMERA_NO_KEYFRAME: { http: 502, exit: 1 },
  E_CAMERA_NOT_LIVE: { http: 409, exit: 1 },
  E_CAMERA_REMOVED: { http: 500, exit: 1 },
  E_CAMERA_STALLED: { http: 502, exit: 1 },
  E_CAMERA_STREAM: { http: 502, exit: 1 },
  E_CAMERA_UNKNOWN: { http: 404, exit: 1 },
  E_CAMERA_UNREACHABLE: { http: 502, exit: 1 },
  E_CANCELLED: { http: 499, exit: 1 },
  E_CHANGES: { http: 409, exit: 1 },
  E_CLIENT_GONE: { http: 499, exit: 1 },
  E_CLOSED: { http: 503, exit: 1 },
  E_CONTENT_TYPE: { http: 415, exit: 1 },
  E_CROSS_SITE: { http: 403, exit: 1 },
  E_DAMAGED: { http: 500, exit: 1 },
  E_DISK_FULL: { http: 507, exit: 1 },
  E_FFMPEG: { http: 500, exit: 1 },
  E_FLUSH: { http: 500, exit: 1 },
  E_FORMAT_VERSION: { http: 500, exit: 1 },
  E_FRAME: { http: 500, exit: 1 },
  E_GAP: { http: 409, exit: 1 },
  E_INPUT_FORMAT: { http: 400, exit: 1 },
  E_INPUT_MISSING: { http: 400, exit: 1 },
  E_INPUT_TRUNCATED: { http: 400, exit: 1 },
  E_INPUT_UNSUPPORTED: { http: 400, exit: 1 },
  E_IO: { http: 500, exit: 1 },
  E_LISTEN: { http: 500, exit: 1 },
  E_METHOD: { http: 405, exit: 1 },
  E_NO_SQLITE: { http: 500, exit: 1 },
  E_NOT_FOUND: { http: 404, exit: 1 },
  E_NOT_SEGMENT: { http: 400, exit: 1 },
  E_OUTPUT: { http: 500, exit: 1 },
  E_OVERLAP: { http: 409, exit: 1 },
  E_PRECONDITION: { http: 412, exit: 1 },
  E_QUERY: { http: 400, exit: 2 },
  E_RANGE_EMPTY: { http: 404, exit: 1 },
  E_RANGE_ORDER: { http: 400, exit: 2 },
  E_RANGE_UNSATISFIABLE: { http: 416, exit: 1 },
  E_READ_ONLY: { http: 500, exit: 1 },
  E_SENDER: { http: 500, exit: 1 },
  E_TIME: { http: 400, exit: 2 },
  E_TRACK: { http: 500, exit: 1 },
  E_USAGE: { http: 400, exit: 2 },
} as const satisfies Record<string, CodeMeaning>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An operational error: a stable `code`, one sentence that says what to do, and the `cause` if there is one. */
export class FootageError extends Error {
  override readonly name = 'FootageError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  /** HTTP status that tells a client the same. */
  get httpStatus(): number {
    return ERROR_CODES[this.code].http;
  }

  /** Exit status of the command line: 1 failed, 2 used wrongly. */
  get exitStatus(): 1 | 2 {
    return ERROR_CODES[this.code].exit;
  }
}

/** The system's code (`ENOENT`, …) of an error from Node, or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Turns a failed system call on the archive into an error that says what to do. */
export function ioError(error: unknown, doing: string): FootageError {
  if (error instanceof FootageError) return error;
  const code = systemCode(error);
  const detail = error instanceof Error ? error.message : String(error);
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new FootageError('E_DISK_FULL', `No room left on the disk while ${doing}: free some space.`, error);
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return new FootageError(
        'E_READ_ONLY',
        `The archive cannot be written (${code}) while ${doing}: give this user write permission, or remount it.`,
        error,
      );
    case 'EMFILE':
    case 'ENFILE':
      return new FootageError(
        'E_IO',
        `Too many files are open (${code}) while ${doing}: raise the limit ("ulimit -n", LimitNOFILE= of a service).`,
        error,
      );
    default:
      return new FootageError('E_IO', `The disk reported an error while ${doing}: ${detail}`, error);
  }
}
