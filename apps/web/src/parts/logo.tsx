export const Logo = () => (
  <svg className="logo" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
    <rect width="32" height="32" rx="7" />
    <path d="M9 17.5l4.6 4.6L23.5 11" />
  </svg>
);
