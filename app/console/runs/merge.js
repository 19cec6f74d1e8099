// The list as it was read, and what the API now says of its newest part, put together.

const older = (one, other) => {
  const apart = Date.parse(one.created_at) - Date.parse(other.created_at);
  return apart === 0 ? one.run_id < other.run_id : apart < 0;
};

const MOST = 1000; // rows that came by themselves; a page that is left open for days does not grow for ever

/**
 * known: the rows that are shown; page: the newest rows as they are now, more: whether there are others behind them.
 * wanted: how many rows were asked for by who reads. Gives the rows to show, the ids that are new, and whether so much came meanwhile that there is a
 * gap, or that the page would grow too long: then the page stands alone, and what is behind it has to be read anew.
 */
export function merge(known, page, more, wanted = 0) {
  const ids = new Set(known.map((row) => row.run_id));
  const fresh = page.filter((row) => !ids.has(row.run_id)).map((row) => row.run_id);
  const gap = more && known.length > 0 && (fresh.length === page.length || known.length + fresh.length > MOST + wanted);
  const last = page.at(-1);
  const behind = more && !gap ? known.filter((row) => older(row, last)) : [];
  return { rows: [...page, ...behind], fresh, gap };
}

/** One page more at the end; a row that is there already stays where it is. */
export function append(known, page) {
  const ids = new Set(known.map((row) => row.run_id));
  return [...known, ...page.filter((row) => !ids.has(row.run_id))];
}
