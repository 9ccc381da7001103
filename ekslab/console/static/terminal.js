// A terminal in a pod: `kubectl exec -it`, by a WebSocket of the console.
import { button, h, replace } from './dom.js';
import { get, secret } from './api.js';
import { Hand, field, head, params, select } from './parts.js';
import { Terminal } from './xterm/xterm.mjs';
import { FitAddon } from './xterm/addon-fit.mjs';

const THEMES = {
    dark: { background: '#10151c', foreground: '#dfe5ec', cursor: '#6cb6ff', selectionBackground: '#2f4a66' },
    light: { background: '#ffffff', foreground: '#1a2129', cursor: '#0f5f8a', selectionBackground: '#b9d9ee', black: '#1a2129', red: '#b3261e', green: '#1b6e34', yellow: '#7a5600', blue: '#0f5f8a', magenta: '#7b3a94', cyan: '#0a6a72', white: '#59636e', brightWhite: '#39424d' },
};
const theme = () => THEMES[document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')];

// The terminal makes style sheets: they carry the page's nonce, which its Content-Security-Policy asks for.
const nonce = document.querySelector('script[nonce]').nonce;
const create = document.createElement.bind(document);
document.createElement = (name, options) => {
    const element = create(name, options);
    if (name === 'style') element.nonce = nonce;
    return element;
};

const quoted = text => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export async function terminal(main, signal) {
    const hand = new Hand();
    const asked = params();
    const found = await get('pods', {}, signal);
    const running = found.rows.filter(row => row.cells[2] === 'Running');
    const id = row => `${row.namespace}/${row.name}`;
    const wanted = asked.get('pod') ? `${asked.get('namespace') ?? 'default'}/${asked.get('pod')}` : '';
    const first = running.find(row => row.namespace === 'default') ?? running.find(row => !['kube-system', 'falco', 'logging'].includes(row.namespace)) ?? running[0];
    const names = running.map(id);
    if (wanted && !names.includes(wanted)) names.push(wanted);
    const pod = select(names.map(name => [name, name]), wanted || (first && id(first)), () => containers(true));
    const container = h('select', { onchange: () => begin() });
    const told = h('span', { class: 'faint', role: 'status' });
    const screen = h('div', { class: 'screen', 'aria-label': 'Terminal' });
    const again = button('New session', () => begin(), { class: 'primary' });
    main.append(...head('Kubernetes', 'Terminal', hand), h('section', { class: 'panel grow' },
        h('div', { class: 'bar' }, field('Pod', pod), field('Container', container), again, told), screen));
    if (!names.length) {
        replace(told, 'There is no running pod.');
        return;
    }
    const term = new Terminal({ fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace', lineHeight: 1.2, fontSize: document.documentElement.hasAttribute('data-large') ? 19 : 14, theme: theme(), cursorBlink: false, scrollback: 5000, screenReaderMode: false });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(screen);
    const resize = () => screen.clientHeight && fit.fit();
    const observer = new ResizeObserver(resize);
    observer.observe(screen);
    document.addEventListener('theme', () => { term.options.theme = theme(); }, { signal });
    let socket = null;
    const encoder = new TextEncoder();
    const size = () => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ columns: term.cols, rows: term.rows }));
    const pass = data => {
        if (socket?.readyState !== WebSocket.OPEN) return;
        for (let at = 0; at < data.length; at += 16_000) socket.send(data.slice(at, at + 16_000));
    };
    term.onData(text => pass(encoder.encode(text)));
    term.onBinary(text => pass(Uint8Array.from(text, c => c.charCodeAt(0))));
    term.onResize(size);
    signal.addEventListener('abort', () => {
        observer.disconnect();
        socket?.close();
        term.dispose();
    });
    async function containers(begins) {
        const [namespace, name] = pod.value.split('/');
        const object = await get('object', { namespace, name }, signal);
        const before = asked.get('container');
        replace(container, object.containers.map(one => h('option', { value: one, selected: one === before }, one)));
        if (begins) begin();
    }
    function begin() {
        socket?.close();
        const [namespace, name] = pod.value.split('/');
        term.reset();
        resize();
        hand.set(`kubectl -n ${quoted(namespace)} exec -it ${quoted(name)}${container.value ? ` -c ${quoted(container.value)}` : ''} -- bash`);
        const address = new URL('api/terminal', location.href);
        address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
        address.search = new URLSearchParams({ namespace, pod: name, container: container.value });
        const mine = socket = new WebSocket(address, [`console.key.${secret()}`]);
        mine.binaryType = 'arraybuffer';
        replace(told, 'Connecting …');
        mine.onopen = () => {
            replace(told, `exec -it in ${namespace}/${name}`);
            size();
            term.focus();
        };
        mine.onmessage = event => {
            if (mine !== socket) return;
            if (typeof event.data !== 'string') term.write(new Uint8Array(event.data));
            else {
                const status = JSON.parse(event.data);
                replace(told, status.error ? status.error : status.ended ? `Ended: ${status.ended}` : 'The shell has ended.');
            }
        };
        mine.onclose = () => {
            if (mine !== socket) return;
            if (told.textContent.startsWith('exec')) replace(told, 'The connection has ended.');
            if (told.textContent.startsWith('Connecting')) replace(told, 'The lab does not answer.');
        };
    }
    await containers(true);
}
