/** The instant that the address of the restore page selects. */
export interface RestoreSearch {
  readonly at?: string | undefined;
}

export const readRestoreSearch = (search: Record<string, unknown>): RestoreSearch => ({
  at: typeof search['at'] === 'string' && !Number.isNaN(Date.parse(search['at'])) ? search['at'] : undefined,
});
