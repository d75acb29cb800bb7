// The addresses of the page's views. The chosen site is part of each, so that a bookmark is a ward.

let site = null; // null: every site; "": the records that name none

export const chosenSite = () => site;

export function chooseSite(name) {
  site = name;
}

export const isOfSite = (row) => site === null || (row.site ?? "") === site;

export const siteName = () => (site === "" ? "no site" : site);

// Parameters that are null are left out.
export function addressed(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...parameters, site })) {
    if (value !== null) query.set(name, value);
  }
  return query.size ? `${path}?${query}` : path;
}

export const listPath = (list = "alerts", parameters = {}) => addressed("./", { list: list === "alerts" ? null : list, ...parameters });

export const recordPath = (id) => addressed("./record", { id });
