import { FootageError } from '../../src/errors.ts';

/** The code of the FootageError that `body` throws. */
export function errorCodeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof FootageError) return error.code;
    throw error;
  }
  return 'no error';
}
