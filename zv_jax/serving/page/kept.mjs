// What the browser remembers: settings for good, the key until the tab is closed.

const wrapped = (storage) => ({
  get(name) {
    try {
      return JSON.parse(storage().getItem(name));
    } catch {
      return null; // a browser may have none, and what another version left may be anything
    }
  },
  set(name, value) {
    try {
      storage().setItem(name, JSON.stringify(value));
    } catch {
      // then it is asked for again
    }
  },
});

export const kept = wrapped(() => localStorage);
export const untilClosed = wrapped(() => sessionStorage);
