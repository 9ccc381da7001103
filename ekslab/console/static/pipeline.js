// The pipeline, live: what went through each link, what is broken and why, and how far each of the last alerts has come.
import { ago, badge, button, clock, count, h, replace, svg } from './dom.js';
import { listen, state } from './live.js';
import { List } from './list.js';
import { go, head, link, openEvent } from './parts.js';

const STEPS = [['calls', 'alerts'], ['alerts', 'shipped'], ['shipped', 'stored'], ['stored', 'metrics'],
    ['metrics', 'alarms'], ['stored', 'findings']];
const WORDS = { ok: '', alarm: 'in alarm', absent: 'not there yet', waiting: 'starting', broken: 'broken' };
const FIXES = { calls: 'event', alerts: 'rule', shipped: 'shipping', stored: 'log group', findings: 'forwarder' };

function station(id) {
    const parts = {
        title: h('span', { class: 'st-title' }),
        where: h('span', { class: 'st-where' }),
        count: h('span', { class: 'st-count' }),
        unit: h('span', { class: 'st-unit' }),
        last: h('span', { class: 'st-last' }),
        detail: h('span', { class: 'st-detail' }),
    };
    const element = h('a', { class: 'station', id: `st-${id}`, href: '#/pipeline' },
        h('span', { class: 'st-head' }, parts.title, h('span', { class: 'st-mark' })), parts.where,
        parts.count, parts.unit, parts.last, parts.detail);
    return { element, parts, last: null, before: undefined };
}

function update(one, of) {
    const { element, parts } = one;
    element.dataset.state = of.state;
    element.href = of.href;
    replace(parts.title, of.title);
    replace(parts.where, of.where || ' ');
    replace(parts.count, of.count === null ? '–' : `${count(of.count)}${of.more ? '+' : ''}`);
    replace(parts.unit, of.unit);
    one.last = of.last;
    replace(parts.detail, of.state === 'broken' ? of.why : of.detail || WORDS[of.state] || ' ');
    element.setAttribute('aria-label',
        `${of.title} ${of.where}: ${of.count ?? 'no number of'} ${of.unit}. ${WORDS[of.state] || 'working'}. ${of.why || of.detail}`);
    if (one.before !== undefined && of.count !== one.before) {
        element.classList.remove('bump');
        void element.offsetWidth;
        element.classList.add('bump');
    }
    one.before = of.count;
}

const delay = (from, to) => {
    if (!from || !to) return '';
    const ms = Math.max(0, to - from);
    return ms < 1000 ? `+${ms} ms` : `+${(ms / 1000).toFixed(1)} s`;
};

const stage = (label, ms, from, title) => h('span', {
    class: `stage ${ms ? 'done' : ''}`, title: ms ? `${title}: ${clock(ms, true)} UTC` : `${title}: not yet`,
}, label, ms && from ? h('small', null, delay(from, ms)) : null);

export const happened = row => Date.parse(row.time.replace(/(\.\d{3})\d*/, '$1'));

export async function pipeline(main, signal) {
    const stations = new Map(['calls', 'alerts', 'shipped', 'stored', 'metrics', 'alarms', 'findings'].map(id => [id, station(id)]));
    const rails = svg('svg', { class: 'rails', 'aria-hidden': 'true' });
    const board = h('div', { class: 'board' }, rails, [...stations.values()].map(one => one.element));
    const diagnosis = h('section', { class: 'diagnosis', 'aria-live': 'polite', hidden: true });
    const open = row => {
        if (!state.snapshot?.group) return;
        openEvent({ group: state.snapshot.group, timestamp: happened(row), key: row.key }, row.rule, row.finding);
    };
    const list = new List({
        label: 'Latest alerts', open, empty: 'No alerts yet. Type in a pod: kubectl exec -it deploy/nginx -- bash',
        columns: [
            { name: 'Time (UTC)', width: '7.5em', mono: true, cell: row => clock(happened(row)) },
            { name: 'Priority', width: '7.5em', cell: row => badge(row.priority) },
            { name: 'Rule', width: 'minmax(11em, 1.5fr)', cell: row => row.rule },
            { name: 'Pod', width: 'minmax(8em, 1fr)', cell: row => row.pod || row.hostname },
            { name: 'Command', width: 'minmax(8em, 1.6fr)', mono: true, cell: row => row.command },
            { name: 'Came as far as', width: '22em', cell: row => {
                const from = happened(row);
                return h('span', { class: 'stages' },
                    stage('alert', row.raised ?? from, row.raised && from, 'Falco wrote it, as the console saw it'),
                    stage('stored', row.stored, from, 'CloudWatch Logs stored it (ingestionTime)'),
                    stage('finding', row.found ?? (row.finding && from), row.found && from, 'Security Hub has it, as the console saw it'));
            } },
        ],
        rowClass: row => (row.fresh ? 'fresh' : ''),
    });
    main.append(
        ...head('Falco on EKS', 'Pipeline', null,
            button('Open a terminal', () => go('terminal'), { class: 'primary' })).filter(Boolean),
        board, diagnosis,
        h('section', { class: 'panel grow' }, h('div', { class: 'panel-head' }, h('h2', null, 'Latest alerts'),
            h('a', { href: '#/logs', id: 'all-alerts' }, 'All in CloudWatch Logs')), list.element));

    const paths = new Map();
    function layout() {
        const box = board.getBoundingClientRect();
        rails.setAttribute('viewBox', `0 0 ${box.width} ${box.height}`);
        rails.replaceChildren();
        for (const [from, to] of STEPS) {
            const a = stations.get(from).element.getBoundingClientRect();
            const b = stations.get(to).element.getBoundingClientRect();
            const [x1, y1, x2, y2] = [a.right - box.left, a.top + a.height / 2 - box.top, b.left - box.left, b.top + b.height / 2 - box.top];
            const middle = (x1 + x2) / 2;
            const d = Math.abs(y1 - y2) < 3 ? `M${x1} ${y1}H${x2}` : `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
            const path = svg('path', { d, class: 'rail' });
            paths.set(`${from}-${to}`, { path, d });
            rails.append(path);
        }
        colour();
    }
    function colour() {
        for (const [from, to] of STEPS) {
            const { path } = paths.get(`${from}-${to}`) ?? {};
            path?.setAttribute('data-state', stations.get(to).element.dataset.state ?? 'absent');
        }
    }
    const calm = matchMedia('(prefers-reduced-motion: reduce)');
    function travel(...steps) {
        if (calm.matches || document.hidden || rails.childElementCount > 60) return;
        steps.forEach((step, place) => {
            const found = paths.get(step);
            if (!found) return;
            const dot = svg('circle', { r: 5, class: 'dot' });
            dot.style.offsetPath = `path("${found.d}")`;
            rails.append(dot);
            const moved = dot.animate([{ offsetDistance: '0%', opacity: 1 }, { offsetDistance: '100%', opacity: 1 }],
                { duration: 350, delay: place * 350, easing: 'ease-in-out', fill: 'backwards' });
            moved.onfinish = () => dot.remove();
        });
    }

    function show() {
        const { snapshot } = state;
        if (!snapshot) return;
        for (const of of snapshot.links) update(stations.get(of.id), of);
        colour();
        if (snapshot.group) main.querySelector('#all-alerts').href = link('logs', { group: snapshot.group, tab: 'events' });
        const broken = snapshot.links.filter(of => of.state === 'broken');
        diagnosis.hidden = !broken.length && !snapshot.error;
        const signature = JSON.stringify([broken.map(of => [of.id, of.why]), snapshot.diagnosis, snapshot.error, snapshot.diagnosing && !snapshot.diagnosis?.length]);
        if (diagnosis.dataset.signature === signature) return;
        diagnosis.dataset.signature = signature;
        const found = snapshot.diagnosis ?? [];
        replace(diagnosis,
            snapshot.error && h('p', null, snapshot.error),
            found.length ? found.map(one => h('div', { class: 'found' }, h('h2', null, `Broken: ${one.link}`), h('p', null, one.finding), h('p', { class: 'hint' }, one.hint)))
                : broken.map(of => h('div', { class: 'found' }, h('h2', null, `Broken: ${FIXES[of.id] ?? of.title}`), h('p', null, of.why),
                    snapshot.diagnosing && h('p', { class: 'hint' }, 'Looking for the cause …'))));
        layout();
    }
    const rows = () => list.set(state.alerts, { keep: true });
    let waiting = false;
    const later = () => { // many alerts at once are drawn once
        if (waiting) return;
        waiting = true;
        requestAnimationFrame(() => {
            waiting = false;
            rows();
        });
    };
    listen((kind, content) => {
        if (kind === 'snapshot') show();
        else if (kind === 'alert') {
            content.fresh = true;
            setTimeout(() => { content.fresh = false; }, 2500);
            travel('calls-alerts');
            const one = stations.get('alerts');
            if (one.before !== undefined && state.snapshot) {
                const of = state.snapshot.links.find(item => item.id === 'alerts');
                if (of) update(one, { ...of, count: (of.count += 1), last: (of.last = happened(content)) });
            }
            later();
        } else if (kind === 'stored') {
            const metrics = stations.get('metrics').element.dataset.state !== 'absent';
            travel('alerts-shipped', 'shipped-stored', ...(metrics ? ['stored-metrics', 'metrics-alarms'] : []));
            later();
        } else if (kind === 'findings') {
            travel('stored-findings');
            later();
        } else if (kind === 'recent' || kind === 'restarted') later();
    }, signal);
    const tick = setInterval(() => {
        for (const one of stations.values()) replace(one.parts.last, one.last ? `last ${ago(one.last)}` : ' ');
    }, 1000);
    const observer = new ResizeObserver(layout);
    observer.observe(board);
    signal.addEventListener('abort', () => {
        clearInterval(tick);
        observer.disconnect();
    });
    show();
    rows();
    layout();
}
