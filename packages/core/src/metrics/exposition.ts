/** One metric with its samples, as Prometheus reads it. */
export interface MetricFamily {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly samples: Iterable<Sample>;
}
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"');

function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}

function formatSample(name: string, { labels, value }: Sample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${formatValue(value)}\n`;
}

/**
 * The text format 0.0.4 (`text/plain; version=0.0.4`), one string per family: a scrape of many targets is sent part by part. Families
 * without samples are left out.
 */
export function* renderExposition(families: Iterable<MetricFamily>): Generator<string> {
  for (const { name, type, help, samples } of families) {
    let text = '';
    for (const sample of samples) text += formatSample(name, sample);
    if (text !== '') yield `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${text}`;
  }
}
