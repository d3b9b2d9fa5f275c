const SHOWN = 8;
const LEAST = 4;

/** An id as tables show it: its end, for the beginning of a time-sortable id is that of its neighbors. Every command takes it. */
export const shortId = (id: string): string => id.slice(-SHOWN);

/** Long enough to name an id by a part of it. */
export const LEAST_PART = LEAST;
