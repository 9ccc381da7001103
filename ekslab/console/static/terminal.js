// A terminal in a pod: `kubectl exec -it`, by a WebSocket of the console.
import { button, h, replace } from './dom.js';
import { get, secret } from './api.js';
import { Hand, field, head, params } from './parts.js';
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

const id = row => `${row.namespace}/${row.name}`;
const SYSTEM = ['kube-system', 'falco', 'logging'];

// The session of this page. It goes on while other views are looked at.
let kept = null;

export async function terminal(main, signal) {
    const asked = params();
    const wanted = asked.get('pod') ? `${asked.get('namespace') ?? 'default'}/${asked.get('pod')}` : '';
    if (kept?.goesOn() && (!wanted || wanted === kept.pod())) {
        kept.show(main);
        return;
    }
    kept?.end();
    kept = null;
    const hand = new Hand();
    const pod = h('select', { onchange: () => containers() });
    const container = h('select', { onchange: () => begin() });
    const told = h('span', { class: 'faint', role: 'status' });
    const screen = h('div', { class: 'screen', 'aria-label': 'Terminal' });
    const again = button('New session', () => anew(), { class: 'primary' });
    const parts = [...head('Kubernetes', 'Terminal', hand), h('section', { class: 'panel grow' },
        h('div', { class: 'bar' }, field('Pod', pod), field('Container', container), again, told), screen)];
    main.append(...parts);
    // Offers the pods that run now: the one that was chosen, or else another of its Deployment.
    async function pods(chosen) {
        const running = (await get('pods', {}, signal.aborted ? undefined : signal)).rows.filter(row => row.cells[2] === 'Running');
        const names = running.map(id);
        if (chosen === wanted && wanted && !names.includes(wanted)) names.push(wanted);
        const family = chosen?.replace(/-[^-]+-[^-]+$/, '-');
        const other = running.find(row => row.namespace === 'default') ?? running.find(row => !SYSTEM.includes(row.namespace)) ?? running[0];
        const first = names.includes(chosen) ? chosen : names.find(name => family && name.startsWith(family)) ?? (other && id(other));
        replace(pod, names.map(name => h('option', { value: name, selected: name === first }, name)));
        if (!names.length) replace(told, 'There is no running pod.');
        return names.length;
    }
    const life = new AbortController();
    let term = null;
    let socket = null;
    const fit = new FitAddon();
    const resize = () => term && screen.clientHeight && fit.fit();
    const observer = new ResizeObserver(resize);
    const encoder = new TextEncoder();
    const say = message => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
    const size = () => say({ columns: term.cols, rows: term.rows });
    const pass = data => {
        if (socket?.readyState !== WebSocket.OPEN) return;
        for (let at = 0; at < data.length; at += 16_000) socket.send(data.slice(at, at + 16_000));
    };
    function open() {
        term = new Terminal({ fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace', lineHeight: 1.2, fontSize: document.documentElement.hasAttribute('data-large') ? 19 : 14, theme: theme(), cursorBlink: false, scrollback: 5000, screenReaderMode: false });
        term.loadAddon(fit);
        term.open(screen);
        observer.observe(screen);
        document.addEventListener('theme', () => { term.options.theme = theme(); }, { signal: life.signal });
        term.onData(text => pass(encoder.encode(text)));
        term.onBinary(text => pass(Uint8Array.from(text, c => c.charCodeAt(0))));
        term.onResize(size);
    }
    const session = {
        pod: () => pod.value,
        goesOn: () => socket?.readyState === WebSocket.OPEN,
        show(place) {
            place.append(...parts);
            resize();
            term.refresh(0, term.rows - 1);
            term.focus();
        },
        end() {
            life.abort();
            observer.disconnect();
            socket?.close();
            term?.dispose();
        },
    };
    kept = session;
    async function containers() {
        const [namespace, name] = pod.value.split('/');
        try {
            const object = await get('object', { namespace, name });
            const before = asked.get('container');
            replace(container, object.containers.map(one => h('option', { value: one, selected: one === before }, one)));
        } catch (error) {
            replace(told, error.message);
            return;
        }
        begin();
    }
    async function anew() {
        try {
            if (await pods(pod.value)) await containers();
        } catch (error) {
            replace(told, error.message);
        }
    }
    function begin() {
        socket?.close();
        if (!term) open();
        const [namespace, name] = pod.value.split('/');
        term.reset();
        resize();
        hand.set(`kubectl -n ${quoted(namespace)} exec -it ${quoted(name)}${container.value ? ` -c ${quoted(container.value)}` : ''} -- bash`);
        const address = new URL('api/terminal', location.href);
        address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
        address.search = new URLSearchParams({ namespace, pod: name, container: container.value });
        const mine = socket = new WebSocket(address, [`console.key.${secret()}`]);
        let shown = 0;
        mine.binaryType = 'arraybuffer';
        replace(told, 'Connecting …');
        mine.onopen = () => {
            replace(told, `exec -it in ${namespace}/${name}`);
            size();
            term.focus();
        };
        mine.onmessage = event => {
            if (mine !== socket) return;
            if (typeof event.data !== 'string') {
                const data = new Uint8Array(event.data);
                term.write(data, () => {
                    shown += data.length;
                    if (mine === socket) say({ shown });
                });
                return;
            }
            const status = JSON.parse(event.data);
            replace(told, status.error ? status.error : status.ended ? ended(status.ended) : 'The shell has ended.');
        };
        mine.onclose = () => {
            if (mine !== socket) return;
            if (told.textContent.startsWith('exec')) replace(told, 'The connection has ended.');
            if (told.textContent.startsWith('Connecting')) replace(told, 'The lab does not answer.');
        };
    }
    signal.addEventListener('abort', () => {
        if (session.goesOn()) return;
        session.end();
        if (kept === session) kept = null;
    });
    if (await pods(wanted)) await containers();
}

const ended = said => (/exit status 137|exit code 137/.test(said)
    ? 'It was killed in the pod (exit code 137), as when the pod is deleted. New session opens one in a pod that runs.' : `Ended: ${said}`);
