// CloudWatch: metrics as graphs, alarms with their history, and dashboards, drawn as GetMetricWidgetImage draws them.
import { ago, badge, button, clock, h, replace } from './dom.js';
import { get, picture } from './api.js';
import { List } from './list.js';
import { Hand, closeDrawer, failure, field, go, head, link, openDrawer, params, select } from './parts.js';

const dark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));

// A widget as an image, drawn for the place and the theme that it is shown in.
function drawn(widget, signal, label) {
    const image = h('img', { alt: label });
    const wait = h('p', { class: 'empty' }, 'Drawing …');
    const box = h('div', { class: 'drawn' }, image, wait);
    let width = 0;
    let url = '';
    async function draw() {
        if (!width || signal.aborted) return;
        const scale = Math.min(window.devicePixelRatio || 1, 1);
        const asked = { ...widget, width: Math.round(Math.min(Math.max(width * scale, 120), 2000)), height: widget.height, theme: dark() };
        try {
            const made = await picture({ widget: JSON.stringify(asked) }, signal);
            if (url) URL.revokeObjectURL(url);
            url = made;
            image.src = url;
            wait.remove();
        } catch (error) {
            if (!signal.aborted) replace(box, failure(error));
        }
    }
    const observer = new ResizeObserver(() => {
        if (Math.abs(box.clientWidth - width) > 3) {
            width = box.clientWidth;
            draw();
        }
    });
    observer.observe(box);
    document.addEventListener('theme', draw, { signal });
    const timer = setInterval(() => document.hidden || draw(), 15_000);
    signal.addEventListener('abort', () => {
        clearInterval(timer);
        observer.disconnect();
        if (url) URL.revokeObjectURL(url);
    });
    box.style.minHeight = `${widget.height}px`;
    box.redraw = draw;
    return box;
}

export async function metrics(main, signal) {
    const hand = new Hand();
    const namespace = params().get('namespace') ?? '';
    const found = await get('metrics', { namespace }, signal);
    const name = metric => `${metric.MetricName}${metric.Dimensions.length ? ` (${metric.Dimensions.map(d => `${d.Name}: ${d.Value}`).join(', ')})` : ''}`;
    const row = metric => [metric.Namespace, metric.MetricName, ...metric.Dimensions.flatMap(d => [d.Name, d.Value])];
    const plot = new Set();
    const graph = h('div', { class: 'graph' });
    const stat = select(['Sum', 'Average', 'Maximum', 'Minimum', 'SampleCount', 'p90'].map(id => [id, id]), 'Sum', () => draw());
    const period = select([['60', '1 minute'], ['300', '5 minutes'], ['3600', '1 hour']], '60', () => draw());
    const span = select([['-PT1H', '1 hour'], ['-PT3H', '3 hours'], ['-P1D', '1 day'], ['-P7D', '1 week']], '-PT3H', () => draw());
    let shown = new AbortController();
    function draw() {
        shown.abort();
        shown = new AbortController();
        signal.addEventListener('abort', () => shown.abort());
        const rows = found.metrics.filter(metric => plot.has(name(metric))).map(row);
        if (!rows.length) {
            replace(graph, h('p', { class: 'empty' }, 'Choose metrics below to see them here.'));
            return;
        }
        const widget = { metrics: rows, stat: stat.value, period: Number(period.value), start: span.value, end: 'PT0H', height: 300, view: 'timeSeries' };
        const command = `aws cloudwatch get-metric-widget-image --metric-widget '${JSON.stringify({ ...widget, width: 900 }).replaceAll("'", "'\\''")}' --output text | base64 -d > graph.png`;
        hand.set(`${found.hand}\n${command}`);
        replace(graph, drawn(widget, shown.signal, `Graph of ${[...plot].join(', ')}`));
    }
    const list = new List({
        label: 'Metrics', empty: 'No metrics.', key: name, open: metric => toggle(metric),
        columns: [
            { name: '', width: '2.2em', cell: metric => h('input', { type: 'checkbox', checked: plot.has(name(metric)), tabindex: '-1', 'aria-label': name(metric), onclick: event => {
                event.stopPropagation();
                toggle(metric);
            } }) },
            { name: 'Namespace', width: '12em', cell: metric => metric.Namespace },
            { name: 'Metric name', width: '1fr', cell: metric => metric.MetricName },
            { name: 'Dimensions', width: '2fr', cell: metric => metric.Dimensions.map(d => `${d.Name}: ${d.Value}`).join(', ') },
        ],
    });
    function toggle(metric) {
        if (!plot.delete(name(metric))) plot.add(name(metric));
        list.set(list.rows);
        draw();
    }
    const spaces = select([['', 'All namespaces'], ...found.namespaces.map(id => [id, id])], namespace, () => go('metrics', { namespace: spaces.value }));
    main.append(...head('CloudWatch › Metrics', 'All metrics', hand),
        h('section', { class: 'panel' }, h('div', { class: 'bar' }, field('Namespace', spaces), field('Statistic', stat), field('Period', period), field('Time range', span)), graph),
        h('section', { class: 'panel grow' }, list.element));
    hand.set(found.hand);
    const first = found.metrics.filter(metric => namespace || !metric.Namespace.startsWith('AWS/'));
    for (const metric of (first.some(m => m.MetricName === 'Alerts' && !m.Dimensions.length) ? first.filter(m => m.MetricName === 'Alerts' && !m.Dimensions.length) : first.slice(0, 1))) plot.add(name(metric));
    list.set(found.metrics);
    draw();
}

export async function alarms(main, signal) {
    const hand = new Hand();
    const list = new List({
        label: 'Alarms', empty: 'There are no alarms.', key: row => row.name, open: row => openAlarm(row.name),
        columns: [
            { name: 'Name', width: 'minmax(14em, 1.4fr)', cell: row => row.name },
            { name: 'State', width: '10em', cell: row => badge(row.state === 'ALARM' ? 'In alarm' : row.state === 'OK' ? 'OK' : 'Insufficient data', 's') },
            { name: 'Last state update (UTC)', width: '15em', mono: true, cell: row => clock(row.updated, true) },
            { name: 'Conditions', width: 'minmax(14em, 2fr)', cell: row => row.condition },
            { name: 'Actions', width: '7em', cell: row => (row.actions.length ? `${row.actions.length} action${row.actions.length > 1 ? 's' : ''}` : 'No actions') },
        ],
    });
    main.append(...head('CloudWatch › Alarms', 'All alarms', hand), h('section', { class: 'panel grow' }, list.element));
    async function openAlarm(name) {
        let found;
        try {
            found = await get('alarm', { name }, signal);
        } catch (error) {
            openDrawer(name, failure(error));
            return;
        }
        const own = new Hand();
        own.set(found.hand);
        own.toggle();
        const state = found.state === 'ALARM' ? 'In alarm' : found.state === 'OK' ? 'OK' : 'Insufficient data';
        openDrawer(name, h('p', null, badge(state, 's'), ' ', h('span', { class: 'faint' }, `since ${clock(found.updated, true)} UTC`)),
            h('p', null, found.description), h('dl', { class: 'facts' }, h('dt', null, 'Conditions'), h('dd', null, found.condition),
                h('dt', null, 'Reason'), h('dd', null, found.reason), h('dt', null, 'Actions'), h('dd', { class: 'mono' }, found.actions.join('\n') || 'none'),
                found.namespace && [h('dt', null, 'Metric'), h('dd', null, h('a', { href: link('metrics', { namespace: found.namespace }) }, found.namespace))]),
            found.widget && drawn({ ...found.widget, height: 220 }, signal, `Graph of the alarm ${name}`),
            h('h3', null, 'History'),
            h('ol', { class: 'history' }, found.history.map(item => h('li', null, h('span', { class: 'mono' }, clock(item.time, true)), ' ', item.type, h('br'), item.summary))),
            h('h3', null, 'The same by hand'), own.box);
    }
    async function load() {
        const found = await get('alarms', {}, signal);
        list.set(found.alarms);
        hand.set(found.hand);
    }
    await load();
    const timer = setInterval(() => document.hidden || load().catch(() => {}), 3000);
    signal.addEventListener('abort', () => clearInterval(timer));
    const name = params().get('name');
    if (name) openAlarm(name);
}

export async function dashboards(main, signal) {
    const hand = new Hand();
    const found = await get('dashboards', {}, signal);
    hand.set(found.hand);
    const name = params().get('name') ?? (found.dashboards.length === 1 ? found.dashboards[0].name : '');
    if (!name) {
        const list = new List({ label: 'Dashboards', empty: 'There are no dashboards.', key: row => row.name, open: row => go('dashboards', { name: row.name }),
            columns: [
                { name: 'Name', width: '2fr', cell: row => h('a', { href: link('dashboards', { name: row.name }) }, row.name) },
                { name: 'Last update (UTC)', width: '1fr', mono: true, cell: row => clock(row.modified, true) },
            ] });
        main.append(...head('CloudWatch › Dashboards', 'Custom dashboards', hand), h('section', { class: 'panel grow' }, list.element));
        list.set(found.dashboards);
        return;
    }
    const { body, hand: command } = await get('dashboard', { name }, signal);
    hand.set(command);
    const grid = h('div', { class: 'dashboard' });
    main.append(...head('CloudWatch › Dashboards', name, hand), grid);
    for (const widget of body.widgets ?? []) {
        const asked = widget.properties ?? {};
        const place = h('section', { class: 'widget', 'aria-label': asked.title ?? widget.type, style: {
            gridColumn: `${(widget.x ?? 0) + 1} / span ${widget.width ?? 6}`, gridRow: `${(widget.y ?? 0) + 1} / span ${widget.height ?? 6}` } });
        grid.append(place);
        fillWidget(place, widget, asked, signal);
    }
}

// The Markdown of a text widget, as far as headings, code, bold letters and the text of links go.
const inline = text => text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]*\))/).map(part =>
    (/^`.+`$/.test(part) ? h('code', null, part.slice(1, -1)) : /^\*\*.+\*\*$/.test(part) ? h('b', null, part.slice(2, -2))
        : /^\[.+\)$/.test(part) ? h('span', null, part.slice(1, part.indexOf(']'))) : part));
const markdown = text => text.split('\n').filter(line => line.trim()).map(line =>
    (/^#{1,6} /.test(line) ? h('h2', null, inline(line.replace(/^#+ /, ''))) : h('p', null, inline(line.replace(/^[*-] /, '• ')))));

async function fillWidget(place, widget, asked, signal) {
    const height = (widget.height ?? 6) * 50 - 16;
    try {
        if (widget.type === 'metric') place.append(drawn({ ...asked, height, start: asked.start ?? '-PT3H' }, signal, asked.title ?? 'Metric widget'));
        else if (widget.type === 'text') place.append(h('div', { class: 'markdown' }, markdown(asked.markdown ?? '')));
        else if (widget.type === 'alarm') {
            const { alarms: all } = await get('alarms', {}, signal);
            const wanted = new Set(asked.alarms);
            place.append(asked.title ? h('h3', null, asked.title) : '', h('ul', { class: 'alarm-list' }, all.filter(one => wanted.has(one.arn)).map(one =>
                h('li', null, badge(one.state === 'ALARM' ? 'In alarm' : one.state === 'OK' ? 'OK' : 'Insufficient data', 's'), ' ', h('a', { href: link('alarms', { name: one.name }) }, one.name), ' ', h('span', { class: 'faint' }, ago(one.updated))))));
        } else if (widget.type === 'log') {
            const source = /SOURCE\s+'([^']+)'/.exec(asked.query ?? '');
            const query = (asked.query ?? '').split('|').filter(part => !/^\s*SOURCE\b/.test(part)).join('|').trim();
            const answer = await get('insights', { group: source?.[1], query, start: Date.now() - 10_800_000 }, signal);
            place.append(asked.title ? h('h3', null, asked.title) : '', h('table', null,
                h('thead', null, h('tr', null, answer.columns.map(column => h('th', { scope: 'col' }, column)))),
                h('tbody', null, answer.rows.slice(0, 50).map(row => h('tr', null, answer.columns.map(column => h('td', null, row[column] ?? '')))))));
        } else place.append(h('p', { class: 'faint' }, `A widget of type ${widget.type}`));
    } catch (error) {
        if (!signal.aborted) place.append(failure(error));
    }
}

