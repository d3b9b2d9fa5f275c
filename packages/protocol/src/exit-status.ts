/** What the exit status of the command line means. Scripts treat a status that is not in this table as a failure. */
export const EXIT_STATUS = {
  done: { status: 0, meaning: 'done' },
  bug: { status: 1, meaning: 'a defect of Lastgood' },
  failed: { status: 2, meaning: 'it could not be done; code and remedy are on standard error' },
  refused: { status: 3, meaning: 'refused: by the host limits, by the role of the token, or by the user' },
  found: { status: 4, meaning: 'done, and a check found something: a bad, suspect, old or missing backup' },
  usage: { status: 64, meaning: 'wrong usage' },
  interrupted: { status: 130, meaning: 'interrupted by SIGINT, or the job was canceled' },
  terminated: { status: 143, meaning: 'interrupted by SIGTERM' },
} as const satisfies Record<string, { readonly status: number; readonly meaning: string }>;
