import { QueryClient } from '@tanstack/react-query';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // A control plane that is away is noticed by the stream; asking again and again hides that.
      retry: false,
      refetchOnWindowFocus: true,
    },
  },
});
