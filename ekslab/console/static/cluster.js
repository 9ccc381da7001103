// The cluster, in the words of kubectl: nodes, pods, events, and the rules that Falco has loaded.
import { badge, button, clock, count, h, replace } from './dom.js';
import { get, stream } from './api.js';
import { listen, state } from './live.js';
import { List } from './list.js';
import { Hand, copied, failure, field, go, head, link, openDrawer, params, select } from './parts.js';

const WIDE = new Set(['Name', 'Node', 'OS-Image', 'Kernel-Version', 'Container-Runtime', 'Version', 'Status']);
const HIDDEN = new Set(['Nominated Node', 'Readiness Gates', 'External-IP', 'Roles']);

function table(found, options) {
    const shown = found.columns.map((name, index) => ({ name, index })).filter(({ name }) => !HIDDEN.has(name));
    const columns = shown.map(({ name, index }) => ({
        name, width: WIDE.has(name) ? 'minmax(8em, 1.6fr)' : 'minmax(4.5em, 0.8fr)',
        cell: row => (name === 'Status' ? badge(row.cells[index], 'k') : row.cells[index]),
    }));
    if (found.rows.some(row => row.namespace)) columns.unshift({ name: 'Namespace', width: '8em', cell: row => row.namespace });
    return new List({ ...options, columns, key: row => `${row.namespace}/${row.name}` });
}

// Reads a list anew every two seconds while it is in sight.
function fresh(load, signal) {
    const timer = setInterval(() => document.hidden || load().catch(() => {}), 2000);
    signal.addEventListener('abort', () => clearInterval(timer));
}

export async function nodes(main, signal) {
    const hand = new Hand();
    const found = await get('nodes', {}, signal);
    hand.set(found.hand);
    const list = table(found, { label: 'Nodes', open: row => openYaml({ kind: 'node', name: row.name }, row.name, signal) });
    main.append(...head('Kubernetes', 'Nodes', hand), h('section', { class: 'panel grow' }, list.element));
    list.set(found.rows);
    fresh(async () => list.set((await get('nodes', {}, signal)).rows), signal);
}

export async function pods(main, signal) {
    const hand = new Hand();
    const asked = params();
    const namespace = asked.get('namespace') ?? '';
    const labels = asked.get('labels') ?? '';
    const found = await get('pods', { namespace, labels }, signal);
    hand.set(found.hand);
    const list = table(found, { label: 'Pods', open: row => openPod(row, signal), empty: 'No resources found.' });
    const spaces = select([['', 'All namespaces'], ...found.namespaces.map(name => [name, name])], namespace, () => go('pods', { namespace: spaces.value, labels: input.value }));
    const input = h('input', { type: 'search', class: 'mono', placeholder: 'app=nginx', value: labels, onchange: () => go('pods', { namespace: spaces.value, labels: input.value }) });
    main.append(...head('Kubernetes', 'Pods', hand), h('section', { class: 'panel grow' },
        h('div', { class: 'bar' }, field('Namespace', spaces), field('Label selector', input)), list.element));
    list.set(found.rows);
    fresh(async () => list.set((await get('pods', { namespace, labels }, signal)).rows), signal);
    const open = asked.get('name');
    const row = open && found.rows.find(one => one.name === open);
    if (row) openPod(row, signal);
}

async function openYaml(asked, title, signal) {
    try {
        const found = await get('object', asked, signal);
        const hand = new Hand();
        hand.set(found.hand);
        hand.toggle();
        openDrawer(title, h('h3', null, 'YAML'), h('pre', { class: 'text', tabindex: '0' }, found.yaml), copied(() => found.yaml, 'Copy YAML'), h('h3', null, 'The same by hand'), hand.box);
    } catch (error) {
        if (!signal.aborted) openDrawer(title, failure(error));
    }
}

const MOST_LINES = 5000;

async function openPod(row, signal) {
    const { name, namespace } = row;
    let found;
    try {
        found = await get('object', { namespace, name }, signal);
    } catch (error) {
        if (!signal.aborted) openDrawer(name, failure(error));
        return;
    }
    const log = h('pre', { class: 'text log', tabindex: '0', 'aria-label': 'Log' });
    const told = h('span', { class: 'faint' });
    const hand = new Hand();
    const yamlHand = new Hand();
    yamlHand.set(found.hand);
    yamlHand.toggle();
    hand.toggle();
    let following = null;
    const container = select(found.containers.map(id => [id, id]), found.containers.includes('falco') ? 'falco' : found.containers[0], () => follow());
    async function follow() {
        following?.abort();
        const mine = following = new AbortController();
        signal.addEventListener('abort', () => mine.abort());
        replace(log);
        replace(told, 'following');
        try {
            await stream('follow', { namespace, pod: name, container: container.value }, (kind, content) => {
                if (!log.isConnected && log.childNodes.length) mine.abort();
                if (kind === 'started') hand.set(content.hand);
                else if (kind === 'failed') replace(told, content.message);
                else if (kind === 'ended') replace(told, 'the container has ended');
                else if (kind === 'lines') {
                    const down = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
                    log.append(...content.map(line => h('span', null, `${line}\n`)));
                    while (log.childNodes.length > MOST_LINES) log.firstChild.remove();
                    if (down) log.scrollTop = log.scrollHeight;
                }
            }, mine.signal);
        } catch (error) {
            if (!mine.signal.aborted) replace(told, error.message);
        }
    }
    openDrawer(`${namespace}/${name}`,
        h('div', { class: 'bar' }, button('Terminal', () => go('terminal', { namespace, pod: name, container: container.value }), { class: 'primary' }),
            h('a', { href: link('events', { namespace }) }, 'Events'), h('span', { class: 'faint' }, `on ${found.node}`)),
        h('div', { class: 'bar' }, h('h3', null, 'Log'), field('Container', container), told), log, hand.box,
        h('h3', null, 'YAML'), h('pre', { class: 'text', tabindex: '0' }, found.yaml), copied(() => found.yaml, 'Copy YAML'), yamlHand.box);
    follow();
}

export async function events(main, signal) {
    const hand = new Hand();
    const namespace = params().get('namespace') ?? '';
    const list = new List({
        label: 'Events', empty: 'No events found.', key: row => `${row.time}${row.object}${row.reason}${row.message}`,
        open: row => row.object.startsWith('pod/') && go('pods', { namespace: row.namespace, name: row.object.slice(4) }),
        columns: [
            { name: 'Last seen (UTC)', width: '8em', mono: true, cell: row => clock(Date.parse(row.time)) },
            { name: 'Type', width: '7em', cell: row => badge(row.type, 'k') },
            { name: 'Reason', width: '11em', cell: row => row.reason },
            { name: 'Namespace', width: '8em', cell: row => row.namespace },
            { name: 'Object', width: 'minmax(12em, 1fr)', cell: row => row.object },
            { name: 'Message', width: 'minmax(14em, 2.4fr)', cell: row => h('span', { title: row.message }, row.message) },
        ],
    });
    main.append(...head('Kubernetes', 'Events', hand), h('section', { class: 'panel grow' }, list.element));
    const load = async () => {
        const found = await get('kube-events', { namespace }, signal);
        hand.set(found.hand);
        list.set(found.events, { keep: true });
    };
    await load();
    fresh(load, signal);
}

export async function rules(main, signal) {
    const hand = new Hand();
    const found = await get('rules', {}, signal);
    hand.set(found.hand);
    const counts = () => {
        const raised = state.snapshot?.links.find(of => of.id === 'alerts')?.rules ?? {};
        if (Object.keys(raised).length) return raised;
        const seen = {};
        for (const row of state.alerts) seen[row.rule] = (seen[row.rule] ?? 0) + 1;
        return seen;
    };
    let numbers = counts();
    const list = new List({
        label: 'Falco rules', empty: 'No Falco is running.', key: row => row.name, open: rule => openDrawer(rule.name,
            h('p', null, badge(rule.priority), ' ', rule.enabled ? '' : badge('disabled', 'k')), h('p', null, rule.description),
            h('h3', null, 'Condition'), h('pre', { class: 'text wrap' }, rule.condition), h('h3', null, 'Tags'), h('p', { class: 'mono' }, (rule.tags ?? []).join(' '))),
        columns: [
            { name: 'Rule', width: 'minmax(16em, 1.6fr)', cell: rule => rule.name },
            { name: 'Priority', width: '8em', cell: rule => badge(rule.priority) },
            { name: 'Alerts', width: '5em', right: true, cell: rule => count(numbers[rule.name] ?? 0) },
            { name: 'Enabled', width: '6em', cell: rule => (rule.enabled ? 'yes' : 'no') },
            { name: 'Tags', width: '2fr', cell: rule => (rule.tags ?? []).filter(tag => !tag.startsWith('maturity')).join(' ') },
        ],
    });
    main.append(...head('Falco', 'Loaded rules', hand, h('span', { class: 'faint' }, `${found.rules.length} rules; alerts as Falco counts them, else the last ones`)),
        h('section', { class: 'panel grow' }, list.element));
    const show = () => {
        numbers = counts();
        list.set([...found.rules].sort((a, b) => (numbers[b.name] ?? 0) - (numbers[a.name] ?? 0) || a.name.localeCompare(b.name)));
    };
    show();
    listen(kind => ['snapshot', 'alert'].includes(kind) && show(), signal);
}
