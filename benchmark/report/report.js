// The report's behaviour: theme, tables, tooltips, copying and printing. Without it every number is still there.
(() => {
  "use strict";

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const pause = () => new Promise((resolve) => setTimeout(resolve, 0));

  // --- bundles: gzip in base64, so that the file stays small ---

  const unpack = async (id, type) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Blob([await new Response(stream).arrayBuffer()], { type });
  };

  // --- theme ---

  const toggle = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme === "dark";

  const setTheme = (theme) => {
    root.dataset.theme = theme;
    root.classList.toggle("dark", isDark()); // for DataTables
    toggle.setAttribute("aria-pressed", String(isDark()));
  };

  const remember = (theme) => {
    try {
      localStorage.setItem("benchmark-theme", theme);
    } catch {
      // Not remembered, then.
    }
  };

  toggle.hidden = false;
  toggle.setAttribute("aria-pressed", String(isDark()));
  toggle.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.isChosen = "";
    remember(theme);
    setTheme(theme);
  });
  system.addEventListener("change", () => {
    if (!("isChosen" in root.dataset)) setTheme(system.matches ? "dark" : "light");
  });

  // --- tables ---

  const PAGE = 25;
  const FEW = 8; // rows that nobody searches
  const tables = [];

  const enhance = (table, ITable) => {
    if (table.classList.contains("dataTable")) return;
    const headings = all("thead th", table);
    const nRows = table.tBodies[0].rows.length;
    const isLong = nRows > PAGE;
    const filters = document.querySelector(`[data-filters="${table.id}"]`);
    const isSearchable = nRows >= FEW || filters !== null;
    const region = table.parentElement;
    const { dt } = new ITable(table, {
      classes: ["display"],
      order: [],
      autoWidth: false,
      pageLength: PAGE,
      lengthMenu: [PAGE, 100, { label: "all", value: -1 }],
      paging: isLong,
      layout: {
        topStart: isSearchable ? "search" : null,
        topEnd: isLong ? "pageLength" : null,
        bottomStart: isSearchable ? "info" : null,
        bottomEnd: isLong ? "paging" : null,
      },
      language: {
        search: "Search",
        lengthMenu: "Rows _MENU_",
        info: "_START_ to _END_ of _TOTAL_ rows",
        infoEmpty: "no rows",
        infoFiltered: "(of _MAX_)",
        zeroRecords: "No row is like that.",
      },
      columnDefs: headings.map((heading, target) => ({
        targets: target,
        orderSequence: "greatestFirst" in heading.dataset ? ["desc", "asc"] : ["asc", "desc"],
      })),
    });
    // The controls stand still; only the table itself scrolls sideways.
    const frame = table.closest(".dt-layout-table");
    for (const name of ["tabindex", "role", "aria-label"]) {
      frame.setAttribute(name, region.getAttribute(name));
      region.removeAttribute(name);
    }
    region.classList.remove("scroll");
    const namePages = () => {
      const pages = dt.table().container().querySelector(".dt-paging nav");
      pages?.setAttribute("aria-label", `Pages: ${frame.getAttribute("aria-label")}`);
    };
    dt.on("draw", namePages);
    namePages();
    tables.push(dt);
    if (filters) connect(filters, dt, headings.map((heading) => heading.textContent));
  };

  const connect = (filters, dt, headings) => {
    filters.hidden = false;
    dt.table().container().querySelector(".dt-search").after(filters);
    all("select", filters).forEach((select) => {
      const column = dt.column(headings.indexOf(select.dataset.heading));
      select.addEventListener("change", () => column.search(select.value, { exact: select.value !== "" }).draw());
    });
  };

  const enhanceTables = async () => {
    const style = document.createElement("style");
    style.textContent = await (await unpack("tables-css", "text/css")).text();
    document.head.prepend(style);
    const address = URL.createObjectURL(await unpack("tables-js", "text/javascript"));
    const { ITable } = await import(address);
    URL.revokeObjectURL(address);
    for (const table of all("table[data-interactive]")) {
      const details = table.closest("details");
      // What is folded away is made sortable when it is looked at.
      if (details) details.addEventListener("toggle", () => enhance(table, ITable), { once: true });
      else enhance(table, ITable);
      await pause();
    }
  };

  // --- charts: the tooltip of a mark at once, also under a finger ---

  const tip = byId("tip");

  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest?.(".chart g:has(> title), .chart g[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    const title = mark.querySelector(":scope > title");
    if (title) {
      mark.dataset.tip = title.textContent;
      title.remove(); // or the browser would show it too
    }
    tip.textContent = mark.dataset.tip;
    tip.style.left = `${Math.max(8, Math.min(event.pageX + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${event.pageY + (event.clientY > innerHeight / 2 ? -tip.offsetHeight - 12 : 16)}px`;
  });

  // --- copying ---

  const said = byId("said");

  const copy = async (button) => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      said.textContent = "Copied.";
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "Selected; press Ctrl+C to copy.";
    }
  };

  all("button.copy").forEach((button) => (button.hidden = false));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });

  // --- printing: on white paper, whole tables, commands unfolded ---

  let before = null;

  addEventListener("beforeprint", () => {
    before = {
      theme: root.dataset.theme,
      lengths: tables.map((dt) => dt.page.len()),
      folded: all("details.commands:not([open])"),
    };
    root.dataset.theme = "light";
    root.classList.remove("dark");
    tables.forEach((dt) => dt.page.len(-1).draw());
    before.folded.forEach((details) => (details.open = true));
  });

  addEventListener("afterprint", () => {
    tables.forEach((dt, number) => dt.page.len(before.lengths[number]).draw());
    before.folded.forEach((details) => (details.open = false));
    setTheme(before.theme);
  });

  // --- start ---

  const start = async () => {
    try {
      await enhanceTables();
    } catch (error) {
      // An old browser: the tables stay as they are.
      console.warn("The sorting of tables needs a newer browser.", error);
      all("details").forEach((details) => (details.open = true));
    }
    root.dataset.ready = "";
    performance.mark("ready");
  };

  start();
})();
