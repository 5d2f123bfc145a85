/**
 * The vocabulary shared by every layer: tracks and frames as they enter the archive.
 */

export type TrackKind = 'video' | 'audio';

/** One elementary stream of a camera. It never changes within a segment (see `newTrack` of a frame). */
export interface Track {
  readonly kind: TrackKind;
  /**
   * RFC 6381 codec string, e.g. `avc1.640028`, `hvc1.1.6.L93.B0`, `av01.0.04M.08`, `mp4a.40.2`, `opus`; for G.711 the
   * type of its sample entry, `alaw` or `ulaw`.
   */
  readonly codec: string;
  /** Ticks per second of `dts`, `compositionOffset` and `durationTicks`. */
  readonly timescale: number;
  /**
   * Body of the codec configuration box, without its box header: AVCDecoderConfigurationRecord (`avcC`,
   * ISO/IEC 14496-15 5.3.3.1), HEVCDecoderConfigurationRecord (`hvcC`, 8.3.3.1), AV1CodecConfigurationRecord (`av1C`),
   * for AAC the whole body of `esds` (version and flags, then the ES_Descriptor, ISO/IEC 14496-14 5.6), for Opus the
   * body of `dOps`, for G.711 nothing (0 bytes).
   */
  readonly config: Uint8Array;
  /** Video only: size of the coded picture in pixels. */
  readonly width?: number;
  readonly height?: number;
  /** Audio only: samples per second, and channels. */
  readonly sampleRate?: number;
  readonly channels?: number;
}

/** One coded frame (an MP4 sample), stored verbatim. */
export interface Frame {
  /** Index into the tracks of the recording. */
  readonly track: number;
  /** The sample as MP4 stores it (NAL units with length prefixes; raw AAC frames without ADTS; Opus packets; G.711: any number of bytes). */
  readonly data: Uint8Array;
  /**
   * Decode time in ticks of the track's timescale; signed, a safe integer; all tracks count from one instant. What ends
   * at or before time 0 (priming) is never presented; a lead-in of more than 10 s is E_FRAME.
   */
  readonly dts: number;
  /** Presentation time minus decode time, in ticks; 0 for audio. */
  readonly compositionOffset: number;
  /** Whether decoding can begin here (a sync sample). Audio frames all are. */
  readonly sync: boolean;
  /** Wall time (UTC, Unix milliseconds) of the instant at which the frame is presented, where the source knows it. */
  readonly utcMs?: number;
  /** Duration in ticks; otherwise until the next frame of the track. */
  readonly durationTicks?: number;
  /**
   * What its track is from this sample on, where parameter sets or the picture's size have changed: of the same kind,
   * timescale and sample entry. Only on a sync sample of the leading track (the first video track), else E_FRAME.
   */
  readonly newTrack?: Track;
  /**
   * The clock of the source or of this machine has stepped: a new run begins with this sample, at `utcMs`, which it must
   * have. Only on a sync sample of the leading track (the first video track, else the first track), else E_FRAME.
   */
  readonly newRun?: true;
  /**
   * Wall time (Unix milliseconds) of the instant at which the frame is presented, by the camera's own clock. It is kept
   * with the footage and never used to place it.
   */
  readonly cameraUtcMs?: number;
}

/** Index of the track that segments and runs begin with: the first video track, else the first one. */
export function leadingOf(tracks: readonly Track[]): number {
  return Math.max(
    0,
    tracks.findIndex(({ kind }) => kind === 'video'),
  );
}
