// An extension of JupyterLab, as it loads them. A command opens the lab's console beside the notebook; printed lines are
// broken between words; and when a run of cells stops at an error, that cell is brought into sight.
(() => {
    const LOOPBACK = ['127.0.0.1', 'localhost'];
    // JupyterLab breaks printed lines wherever they end, and puts text right below a fold.
    const STYLE = `
        .jp-OutputArea-output.jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }
        .jp-RenderedHTMLCommon details:has(+ p) { margin-bottom: 1em; }
    `;
    let shared;

    const take = async name => {
        const [version] = Object.values(shared[name]);
        return (await version.get())();
    };

    // After Run All Cells, JupyterLab shows the end of the notebook, wherever it stopped. A person who has gone to another
    // cell since is left there, and so is one who runs cells one by one: the next cell is selected then.
    const showFailed = (notebook, cell) => {
        const failed = notebook.widgets.indexOf(cell);
        const outputs = cell.model.sharedModel.toJSON().outputs ?? [];
        if (notebook.activeCellIndex <= failed + 1 || !outputs.some(output => output.output_type === 'error')) return;
        notebook.activeCellIndex = failed;
        notebook.scrollToItem(failed, 'smart');
    };

    const plugin = ({ Widget }, { NotebookActions }) => ({
        id: 'falco-workshop:console',
        autoStart: true,
        activate: app => {
            document.head.append(Object.assign(document.createElement('style'), { textContent: STYLE }));
            NotebookActions.executed.connect((_, { notebook, cell, success }) => {
                // Later: the end is scrolled to when all cells are done with.
                if (!success && cell.model.type === 'code') setTimeout(() => showFailed(notebook, cell), 300);
            });
            app.commands.addCommand('falco-workshop:console', {
                label: 'Console of the lab',
                execute: ({ url, tab }) => {
                    const address = new URL(url, location.href);
                    const own = address.protocol === 'http:' && LOOPBACK.includes(address.hostname) && address.pathname === '/open';
                    const { baseUrl } = JSON.parse(document.getElementById('jupyter-config-data').textContent);
                    const through = address.origin === location.origin && address.pathname === `${baseUrl}falco-workshop/console/open`;
                    if (!own && !through) return;
                    if (tab) {
                        window.open(address.href, '_blank', 'noopener');
                        return;
                    }
                    // The console's cookie is sent in a frame only if the page's host has the same name.
                    if (own && LOOPBACK.includes(location.hostname)) address.hostname = location.hostname;
                    const frame = document.createElement('iframe');
                    frame.src = address.href;
                    frame.title = 'Console of the lab';
                    frame.referrerPolicy = 'no-referrer';
                    frame.allow = 'clipboard-write';
                    Object.assign(frame.style, { width: '100%', height: '100%', border: '0' });
                    const widget = new Widget();
                    widget.id = `falco-workshop-console-${Date.now()}`;
                    widget.title.label = 'Console';
                    widget.title.closable = true;
                    widget.node.append(frame);
                    app.shell.add(widget, 'main', { mode: 'split-right' });
                },
            });
        },
    });

    window._JUPYTERLAB ??= {};
    window._JUPYTERLAB['falco-workshop'] = {
        init: scope => { shared = scope; },
        get: async () => {
            const [widgets, notebooks] = await Promise.all(['@lumino/widgets', '@jupyterlab/notebook'].map(take));
            return () => ({ __esModule: true, default: plugin(widgets, notebooks) });
        },
    };
})();
