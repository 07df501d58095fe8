// The report's behaviour: theme, tables, charts, copying and printing. Without it every number is still there.
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

  const loadScript = (address) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: address, onload: resolve, onerror: reject });
      document.head.append(script);
    });

  // --- theme ---

  const toggle = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme === "dark";
  const charts = [];

  const setTheme = (theme) => {
    root.dataset.theme = theme;
    root.classList.toggle("dark", isDark()); // for DataTables
    toggle.setAttribute("aria-pressed", String(isDark()));
    charts.filter((chart) => chart.isDrawn).forEach((chart) => chart.draw());
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
    remember(theme);
    setTheme(theme);
  });
  system.addEventListener("change", () => setTheme(system.matches ? "dark" : "light"));

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

  // --- charts ---

  // On paper: as wide as the page, and low enough for several a page.
  const PAPER_PX = 680;
  const PAPER_HEIGHT = 0.75;
  // On the screen: drawn so long before they are scrolled into it.
  const AHEAD_PX = 900;

  const darkColours = JSON.parse(byId("dark-colours").textContent);

  class Chart {
    constructor(element) {
      this.element = element;
      this.text = byId(element.dataset.figure).textContent;
      this.isDrawn = false;
      // Its room is kept until it is drawn, so that nothing moves then.
      element.style.setProperty("--height", `${JSON.parse(this.text).layout.height}px`);
    }

    draw(width) {
      this.isDrawn = true;
      const figure = JSON.parse(this.text, (key, value) =>
        isDark() && /color$/i.test(key) ? (darkColours[value] ?? value) : value,
      );
      const layout = { ...figure.layout, dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false };
      const room = width ?? this.element.clientWidth;
      if (width) Object.assign(layout, { width, height: layout.height * PAPER_HEIGHT, autosize: false });
      if (room < 640) {
        layout.font = { ...layout.font, size: 11 };
        layout.annotations = layout.annotations?.map((note) => ({ ...note, font: { ...note.font, size: 10 } }));
      }
      return Plotly.react(this.element, figure.data, layout, { responsive: true, displayModeBar: false });
    }
  }

  const drawCharts = async () => {
    const elements = all(".chart");
    if (!elements.length) return;
    const address = URL.createObjectURL(await unpack("charts-js", "text/javascript"));
    await loadScript(address);
    URL.revokeObjectURL(address);
    charts.push(...elements.map((element) => new Chart(element)));
    const near = charts.filter(({ element }) => element.getBoundingClientRect().top < innerHeight + AHEAD_PX);
    for (const chart of near) {
      await chart.draw();
      await pause();
    }
    // The others when they come near.
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          const chart = charts.find(({ element }) => element === target);
          if (isIntersecting && !chart.isDrawn) chart.draw();
        }
      },
      { rootMargin: `${AHEAD_PX}px` },
    );
    elements.forEach((element) => observer.observe(element));
  };

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

  // --- printing: on white paper, whole tables, charts as wide as the page, commands unfolded ---

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
    charts.forEach((chart) => chart.draw(PAPER_PX));
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
      await drawCharts();
    } catch (error) {
      // An old browser: the tables stand as they are, and take the place of the charts.
      console.warn("The charts and the sorting of tables need a newer browser.", error);
      root.classList.remove("js");
      all("details").forEach((details) => (details.open = true));
    }
    root.dataset.ready = "";
    performance.mark("ready");
  };

  start();
})();
