/** Runs work one at a time; asked again while it runs, it runs once more afterwards. A failure ends the session. */
export function coalesce(work: () => Promise<void>, end: (why: string) => void): () => void {
  let running = false;
  let again = false;
  const loop = async (): Promise<void> => {
    running = true;
    try {
      do {
        again = false;
        await work();
      } while (again);
    } catch (error) {
      end(error instanceof Error ? error.message : String(error));
    } finally {
      running = false;
    }
  };
  return () => {
    again = true;
    if (!running) void loop();
  };
}
