import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    // Real media, real clients and real time, on machines that have other work: a limit is for what hangs.
    testTimeout: 180_000,
    hookTimeout: 300_000,
    maxWorkers: 2,
    coverage: { include: ['src/**/*.ts'], reporter: ['text', 'html'] },
  },
});
