import { readdir, readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, relative } from 'node:path';

/** Nothing from elsewhere, no script or style in the page itself, and no text that becomes script. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
} as const;

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
const PAGE = '/index.html';
/** Their names contain a hash of their content. */
const ASSETS = '/assets/';

interface StoredFile {
  readonly path: string;
  readonly type: string;
  readonly isCompressed: boolean;
}

/** The built dashboard: the files of one folder, with a compressed copy (`.br`) beside each. */
export class DashboardFiles {
  readonly #files: ReadonlyMap<string, StoredFile>;
  readonly #read = new Map<string, Buffer>();

  private constructor(files: ReadonlyMap<string, StoredFile>) {
    this.#files = files;
  }

  /** Lists the folder; null when the dashboard was not built. */
  static async open(folder: string): Promise<DashboardFiles | null> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const files = new Map<string, StoredFile>();
    for (const path of paths) {
      const type = TYPES[extname(path)];
      if (type === undefined) continue;
      files.set(`/${relative(folder, path)}`, { path, type, isCompressed: paths.includes(`${path}.br`) });
    }
    return files.has(PAGE) ? new DashboardFiles(files) : null;
  }

  /** The file of a request; every other address that a person opens is a page of the dashboard. */
  #fileOf({ headers }: IncomingMessage, pathname: string): { name: string; file: StoredFile } | undefined {
    const found = this.#files.get(pathname);
    if (found !== undefined) return { name: pathname, file: found };
    const isPage = !pathname.startsWith(ASSETS) && headers.accept?.includes('text/html') === true;
    const page = isPage ? this.#files.get(PAGE) : undefined;
    return page === undefined ? undefined : { name: PAGE, file: page };
  }

  async #content(path: string): Promise<Buffer> {
    const known = this.#read.get(path);
    if (known !== undefined) return known;
    const content = await readFile(path);
    this.#read.set(path, content);
    return content;
  }

  /** Answers a GET or HEAD for a file of the dashboard. False: the request is for something else. */
  async serve(request: IncomingMessage, response: ServerResponse, pathname: string): Promise<boolean> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return false;
    const found = this.#fileOf(request, pathname);
    if (found === undefined) return false;
    const { name, file } = found;
    const sendCompressed = file.isCompressed && /\bbr\b/.test(String(request.headers['accept-encoding'] ?? ''));
    const content = await this.#content(sendCompressed ? `${file.path}.br` : file.path);
    response.writeHead(200, {
      ...HEADERS,
      'content-type': file.type,
      'content-length': content.length,
      'cache-control': name.startsWith(ASSETS) ? 'public, max-age=31536000, immutable' : 'no-cache',
      vary: 'accept-encoding',
      ...(sendCompressed ? { 'content-encoding': 'br' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : content);
    return true;
  }
}
