/** A real run and a drill must never be confused. */
export const ModeBand = ({ mode }: { readonly mode: 'run' | 'drill' }) =>
  mode === 'run' ? (
    <p className="band band-real">REAL: this replaces live data</p>
  ) : (
    <p className="band band-drill">DRILL: nothing live is touched</p>
  );
