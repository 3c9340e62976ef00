// A prebuilt extension of JupyterLab, written by hand: it imports nothing of JupyterLab and looks at the page.
(() => {
  // ipywidgets says these where a slider has no kernel: a notebook that was closed and opened again.
  const DEAD = ["Loading widget...", "Error displaying widget: model not found", "Error displaying widget"];
  const CALM = "To turn this picture, run the cell: its sliders appear here.";
  const STYLE = `
    .course-no-kernel { color: var(--jp-ui-font-color1); font-style: italic; padding: 2px 0; }
    [data-jp-theme-light="false"] .jp-RenderedHTMLCommon img,
    [data-jp-theme-light="false"] .jp-RenderedImage img {
      background: white; border-radius: 6px; box-sizing: content-box; padding: 8px;
      max-width: calc(100% - 16px); filter: brightness(0.9);
    }`;

  function calmed(node) {
    if (DEAD.includes(node.textContent)) {
      node.textContent = "";
      node.append(Object.assign(document.createElement("div"), { className: "course-no-kernel", textContent: CALM }));
    }
  }

  // ipywidgets puts a slider's name beside it, where no screen reader looks for it.
  function named(slider) {
    const handle = slider.querySelector(".noUi-handle");
    const name = slider.querySelector(".widget-label")?.textContent;
    const value = slider.querySelector(".widget-readout")?.textContent;
    if (!handle || !name) return;
    if (handle.getAttribute("aria-label") !== name) handle.setAttribute("aria-label", name);
    if (value && handle.getAttribute("aria-valuetext") !== value) handle.setAttribute("aria-valuetext", value);
  }

  function look() {
    document.querySelectorAll(".jp-OutputArea-output.lm-Panel").forEach(calmed);
    document.querySelectorAll(".widget-hslider").forEach(named);
  }

  // JupyterLab writes the kernel's version into a notebook that is opened, and then shows it as not saved.
  const opened = new WeakSet();
  function settle(panel) {
    const { context, sessionContext } = panel ?? {};
    if (!sessionContext || !context?.model?.cells || opened.has(context)) return;
    opened.add(context);
    const content = () => {
      const { metadata, ...rest } = context.model.toJSON();
      return JSON.stringify({ ...rest, metadata: { ...metadata, language_info: null, kernelspec: null } });
    };
    context.ready.then(async () => {
      const before = content();
      await sessionContext.ready;
      await sessionContext.session?.kernel?.info;
      setTimeout(() => { if (content() === before) context.model.dirty = false; }, 500);
    });
  }

  const plugin = {
    id: "course-reading:plugin",
    autoStart: true,
    activate: (app) => {
      app.shell.currentChanged?.connect((_, change) => settle(change.newValue));
      document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
      let waiting = false;
      new MutationObserver(() => {
        if (!waiting) {
          waiting = true;
          requestAnimationFrame(() => { waiting = false; look(); });
        }
      }).observe(document.body, { childList: true, subtree: true, characterData: true });
    },
  };

  (window._JUPYTERLAB ??= {})["course-reading"] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
