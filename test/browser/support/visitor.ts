import { AxeBuilder } from '@axe-core/playwright';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';

/** A screen on which the fleet page must answer without a click or a scroll. */
export const SCREEN = { width: 1280, height: 800 } as const;
export const PHONE = { width: 390, height: 844 } as const;

/** Limits of a wait; the machine may be loaded. */
const WAIT_MS = 60_000;

export async function openBrowser(executablePath: string): Promise<Browser> {
  return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

/** A person in a browser. Any console error, violated policy or unhandled rejection that was not expected fails the test. */
export class Visitor implements AsyncDisposable {
  readonly page: Page;
  readonly url: string;
  readonly #problems: string[] = [];
  readonly #expected: RegExp[] = [];

  private constructor(page: Page, url: string) {
    this.page = page;
    this.url = url;
    page.setDefaultTimeout(WAIT_MS);
    page.on('console', (message) => {
      if (message.type() === 'error' || /Content Security|TrustedHTML|TrustedScript/i.test(message.text()))
        this.#problems.push(message.text());
    });
    page.on('pageerror', (error) => this.#problems.push(`unhandled: ${error.message}`));
    // Whatever the page asks for is on the control plane itself.
    page.on('request', (request) => {
      if (!request.url().startsWith(`${url}/`)) this.#problems.push(`a request to ${request.url()}`);
    });
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visitor> {
    const context = await browser.newContext({
      viewport: SCREEN,
      locale: 'en-GB',
      timezoneId: 'Europe/Berlin',
      reducedMotion: 'reduce',
      ...options,
    });
    return new Visitor(await context.newPage(), url);
  }

  /** Problems that match are the subject of the test. */
  expectProblem(pattern: RegExp): void {
    this.#expected.push(pattern);
  }

  /** Signs in with a token, as a person does. */
  async signIn(token: string): Promise<void> {
    await this.page.goto(this.url);
    await this.page.getByLabel('Access token').fill(token);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.page.getByRole('navigation', { name: 'Main' }).waitFor();
  }

  async open(path: string): Promise<void> {
    await this.page.goto(`${this.url}${path}`);
  }

  /** Waits until a text is on the page. */
  async sees(text: string | RegExp): Promise<void> {
    await this.page.getByText(text).first().waitFor();
  }

  /** Checks the page against WCAG 2.2 AA and best practice. */
  async expectAccessible(): Promise<void> {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const { violations } = await new AxeBuilder({ page: this.page }).withTags(tags).analyze();
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
    expect(found, `on ${this.page.url()}`).toEqual([]);
  }

  /** What went wrong in the page and was not expected. */
  get problems(): string[] {
    return this.#problems.filter((problem) => !this.#expected.some((pattern) => pattern.test(problem)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}
