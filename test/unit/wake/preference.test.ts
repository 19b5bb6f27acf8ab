import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Preferences, readPreferences } from '../../../src/router/wake/preference.ts';

describe('Prefer (RFC 7240)', () => {
  const cases: [header: string | undefined, preferences: Preferences][] = [
    [undefined, { respondAsync: false, waitMs: undefined }],
    ['respond-async', { respondAsync: true, waitMs: undefined }],
    ['Respond-Async, WAIT=10', { respondAsync: true, waitMs: 10_000 }],
    ['wait=0', { respondAsync: false, waitMs: 0 }],
    ['wait="7"; x=y', { respondAsync: false, waitMs: 7000 }],
    ['wait=3, wait=9', { respondAsync: false, waitMs: 3000 }],
    ['return=minimal, wait = 5', { respondAsync: false, waitMs: 5000 }],
    ['wait', { respondAsync: false, waitMs: undefined }],
    ['wait=-1', { respondAsync: false, waitMs: undefined }],
    ['wait=soon', { respondAsync: false, waitMs: undefined }],
    ['wait=1e9', { respondAsync: false, waitMs: undefined }],
    [',,;=', { respondAsync: false, waitMs: undefined }],
  ];
  for (const [header, preferences] of cases)
    it(`of ${header}`, () => assert.deepEqual(readPreferences(header), preferences));
});
