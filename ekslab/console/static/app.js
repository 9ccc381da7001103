// The page: head, navigation, the view that the address names, keys, theme, and what is said when the lab is gone.
import { button, h, replace } from './dom.js';
import { takeKey } from './api.js';
import { listen, start, state } from './live.js';
import { closeDrawer, failure, go } from './parts.js';

const VIEWS = [
    ['', [['pipeline', 'Pipeline', 'p']]],
    ['CloudWatch', [
        ['logs', 'Log groups', 'l'], ['tail', 'Live Tail', 't'], ['insights', 'Logs Insights', 'i'],
        ['metrics', 'All metrics', 'm'], ['alarms', 'Alarms', 'a'], ['dashboards', 'Dashboards', 'd'],
    ]],
    ['Cluster', [
        ['nodes', 'Nodes', 'n'], ['pods', 'Pods', 'o'], ['events', 'Events', 'e'], ['rules', 'Falco rules', 'r'],
        ['terminal', 'Terminal', 'x'],
    ]],
    ['Security Hub', [['findings', 'Findings', 'f']]],
];
const NAMES = new Map(VIEWS.flatMap(([, views]) => views.map(([id, name]) => [id, name])));
const MODULES = { alarms: 'cloudwatch', dashboards: 'cloudwatch', metrics: 'cloudwatch', insights: 'logs', tail: 'logs',
    nodes: 'cluster', pods: 'cluster', events: 'cluster', rules: 'cluster' };

let leaving = new AbortController();

async function show() {
    const id = location.hash.slice(2).split('?')[0] || 'pipeline';
    const main = document.getElementById('main');
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    closeDrawer();
    if (!NAMES.has(id)) {
        replace(main, h('h1', null, 'There is no such view.'));
        return;
    }
    for (const item of document.querySelectorAll('#nav a')) {
        if (item.dataset.view === id) item.setAttribute('aria-current', 'page');
        else item.removeAttribute('aria-current');
    }
    document.title = `${NAMES.get(id)}: embedded lab`;
    main.className = `view-${id}`;
    try {
        const module = await import(`./${MODULES[id] ?? id}.js`);
        if (signal.aborted) return;
        replace(main);
        await module[id](main, signal);
    } catch (error) {
        if (error.name !== 'AbortError' && !signal.aborted) main.append(failure(error));
    }
}

function theme(value) {
    document.documentElement.dataset.theme = value;
    try {
        localStorage.setItem('theme', value);
    } catch { /* storage is switched off */ }
    document.dispatchEvent(new CustomEvent('theme'));
}

function top() {
    const dark = () => (document.documentElement.dataset.theme
        || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
    const lamp = h('span', { class: 'lamp' });
    const live = h('span', { class: 'live' });
    const where = h('span', { class: 'where' });
    const look = () => {
        lamp.className = `lamp ${state.connected ? 'on' : state.connected === false ? 'off' : ''}`;
        replace(live, state.connected ? 'live' : state.connected === false ? 'no answer' : 'connecting');
        const { about } = state;
        replace(where, about ? [h('b', null, about.cluster), ` · ${about.region} · account ${about.account}`] : '');
        document.body.classList.toggle('gone', state.connected === false);
        const note = document.getElementById('gone');
        if (state.connected === false && !note) {
            document.getElementById('top').after(h('p', { id: 'gone', role: 'alert' },
                'The lab does not answer. It may have been stopped or killed; ', h('code', null, 'labkit up'),
                ' starts it again, and this page goes on by itself.'));
        } else if (state.connected !== false) note?.remove();
    };
    listen(kind => {
        if (kind === 'connection' || kind === 'restarted') look();
        if (kind === 'restarted') show();
    });
    const full = button('Projector', () => {
        const on = document.documentElement.toggleAttribute('data-large');
        full.setAttribute('aria-pressed', String(on));
        window.dispatchEvent(new Event('resize'));
    }, { class: 'quiet', 'aria-pressed': 'false', title: 'Larger letters, for the wall (key: b)' });
    full.id = 'large';
    replace(document.getElementById('top'),
        h('a', { class: 'brand', href: '#/pipeline' }, 'Falco workshop', h('span', null, 'embedded lab')),
        where, h('span', { class: 'grow' }), lamp,
        live, full,
        button('Theme', () => theme(dark() ? 'light' : 'dark'), { class: 'quiet', title: 'Light or dark (key: k)', id: 'theme' }),
        button('Keys', keysHelp, { class: 'quiet', title: 'Keyboard (key: ?)' }));
    look();
}

function nav() {
    replace(document.getElementById('nav'), VIEWS.map(([title, views]) => h('section', null,
        title && h('h2', null, title),
        h('ul', null, views.map(([id, name, key]) => h('li', null,
            h('a', { href: `#/${id}`, 'data-view': id, 'aria-keyshortcuts': `g ${key}` }, name)))))));
}

function keysHelp() {
    const list = VIEWS.flatMap(([, views]) => views);
    const dialog = h('dialog', { 'aria-label': 'Keyboard', onclose: () => dialog.remove() },
        h('h2', null, 'Keyboard'),
        h('dl', null, list.map(([, name, key]) => [h('dt', null, h('kbd', null, 'g'), ' ', h('kbd', null, key)), h('dd', null, name)]),
            [['/', 'Search'], ['↑ ↓', 'Rows of a list'], ['Enter', 'Open a row'], ['Esc', 'Close'], ['k', 'Light or dark'],
                ['b', 'Larger letters']].map(([key, what]) => [h('dt', null, h('kbd', null, key)), h('dd', null, what)])),
        button('Close', () => dialog.close()));
    document.body.append(dialog);
    dialog.showModal();
}

let going = false;

function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
        closeDrawer();
        return;
    }
    if (event.target.closest?.('input, textarea, select, .xterm')) return;
    if (going) {
        going = false;
        const found = VIEWS.flatMap(([, views]) => views).find(([, , key]) => key === event.key);
        if (found) go(found[0]);
        return;
    }
    const action = {
        g: () => { going = true; setTimeout(() => { going = false; }, 1500); },
        k: () => document.getElementById('theme').click(),
        b: () => document.getElementById('large').click(),
        '?': keysHelp,
        '/': () => document.querySelector('#main input')?.focus(),
    }[event.key];
    if (action) {
        event.preventDefault();
        action();
    }
}

function locked() {
    leaving.abort();
    replace(document.getElementById('main'), h('div', { class: 'locked' },
        h('h1', null, 'This page needs to be opened anew'),
        h('p', null, 'The address that opens the console works once. Run ', h('code', null, 'labkit console'),
            ' in a terminal, or ', h('code', null, 'lab.console()'), ' in a notebook: then this page goes on, too.'),
        button('Reload', () => location.reload())));
}

takeKey();
try {
    const kept = localStorage.getItem('theme');
    if (kept) document.documentElement.dataset.theme = kept;
} catch { /* storage is switched off */ }
top();
nav();
document.addEventListener('locked', locked);
document.addEventListener('keydown', keys);
window.addEventListener('hashchange', () => {
    if (new URLSearchParams(location.hash.slice(1)).has('key')) takeKey();
    show();
});
show();
start();
