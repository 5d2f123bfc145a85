/** Tells how far the reading of a media file has come. */
import type { Frame } from '../media.ts';
import type { MediaFile } from './media-file.ts';

/** Passes frames on; `onProgress` gets the media read so far and in all, ms. */
export async function* withProgress(
  frames: AsyncIterable<Frame>,
  { tracks, durationMs }: Pick<MediaFile, 'tracks' | 'durationMs'>,
  onProgress: ((doneMs: number, totalMs: number) => void) | undefined,
): AsyncGenerator<Frame, void, undefined> {
  for await (const frame of frames) {
    onProgress?.((frame.dts * 1000) / (tracks[frame.track]?.timescale ?? 1), durationMs);
    yield frame;
  }
}
