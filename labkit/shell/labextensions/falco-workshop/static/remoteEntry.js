// An extension of JupyterLab, as it loads them: one command, which opens the lab's console beside the notebook.
(() => {
    const LOOPBACK = ['127.0.0.1', 'localhost'];
    let shared;

    const take = async name => {
        const [version] = Object.values(shared[name]);
        return (await version.get())();
    };

    const plugin = ({ Widget }) => ({
        id: 'falco-workshop:console',
        autoStart: true,
        activate: app => {
            app.commands.addCommand('falco-workshop:console', {
                label: 'Console of the lab',
                execute: ({ url }) => {
                    const address = new URL(url);
                    if (address.protocol !== 'http:' || !LOOPBACK.includes(address.hostname) || address.pathname !== '/open') return;
                    // The console's cookie is sent in a frame only if the page's host has the same name.
                    if (LOOPBACK.includes(location.hostname)) address.hostname = location.hostname;
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
            const widgets = await take('@lumino/widgets');
            return () => ({ __esModule: true, default: plugin(widgets) });
        },
    };
})();
