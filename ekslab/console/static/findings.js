// Security Hub: findings, and back to the alert that each came from.
import { badge, button, count, h, replace } from './dom.js';
import { get } from './api.js';
import { listen, state } from './live.js';
import { List } from './list.js';
import { Hand, closeDrawer, copied, failure, field, go, head, link, longText, openDrawer, openEvent, params, select } from './parts.js';

const LABELS = ['CRITICAL', 'HIGH', 'MEDIUM', 'LOW', 'INFORMATIONAL'];

export async function findings(main, signal) {
    const hand = new Hand();
    const asked = params();
    const told = h('span', { class: 'faint', role: 'status' });
    const list = new List({
        label: 'Findings', open: row => openFinding(row.id), key: row => row.id, empty: 'No findings match.',
        columns: [
            { name: 'Severity', width: '9em', cell: row => badge(row.severity, 'f') },
            { name: 'Title', width: 'minmax(18em, 3fr)', cell: row => row.title },
            { name: 'Workflow status', width: '8.5em', cell: row => badge(row.workflow, 'w') },
            { name: 'Record state', width: '6.5em', cell: row => row.record },
            { name: 'Product', width: '5em', cell: row => row.product },
            { name: 'Resource', width: 'minmax(7em, 0.8fr)', mono: true, cell: row => `${row.resource}${row.resources > 1 ? ` +${row.resources - 1}` : ''}` },
            { name: 'Updated at (UTC)', width: '13em', mono: true, cell: row => row.updated.replace('T', ' ').replace('Z', '').slice(0, 23) },
        ],
    });
    const severity = select([['', 'Any severity'], ...LABELS.map(id => [id, id])], asked.get('severity') ?? '', () => load());
    const workflow = select([['', 'Any'], ...['NEW', 'NOTIFIED', 'RESOLVED', 'SUPPRESSED'].map(id => [id, id])], asked.get('workflow') ?? '', () => load());
    const record = select([['', 'Any'], ['ACTIVE', 'ACTIVE'], ['ARCHIVED', 'ARCHIVED']], asked.get('record') ?? 'ACTIVE', () => load());
    main.append(...head('Security Hub CSPM', 'Findings', hand), h('section', { class: 'panel grow' },
        h('div', { class: 'bar' }, field('Severity', severity), field('Workflow status', workflow), field('Record state', record), told), list.element));
    let turn = 0;
    let rows = [];
    const chosen = () => ({ severity: severity.value, workflow: workflow.value, record: record.value });
    // The newest are shown at once; older ones are fetched while these are read.
    async function load() {
        const mine = ++turn;
        let token = '';
        rows = [];
        try {
            do {
                const found = await get('findings', { ...chosen(), token, limit: token ? 1000 : 200 }, signal);
                if (mine !== turn) return;
                token = found.token;
                hand.set(found.hand);
                if (found.off) list.none.textContent = found.off;
                rows = rows.concat(found.findings);
                list.set(rows);
                replace(told, `${count(rows.length)}${token ? '+' : ''} findings, newest first`);
            } while (token && rows.length < 10_000);
        } catch (error) {
            if (!signal.aborted) replace(told, error.message);
        }
    }
    async function renew() {
        const found = await get('findings', { ...chosen(), limit: 100 }, signal);
        const known = new Set(found.findings.map(row => row.id));
        rows = found.findings.concat(rows.filter(row => !known.has(row.id)));
        list.set(rows, { keep: true });
        replace(told, `${count(rows.length)} findings, newest first`);
    }
    async function openFinding(id) {
        let found;
        try {
            found = await get('finding', { id }, signal);
        } catch (error) {
            openDrawer('Finding', failure(error));
            return;
        }
        const { finding, row } = found;
        const own = new Hand();
        own.set(found.hand);
        own.toggle();
        const alert = row.time && state.snapshot?.group && button('The alert it came from', () => openEvent(
            { group: state.snapshot.group, timestamp: Date.parse(row.time.replace(/(\.\d{3})\d*/, '$1')), key: row.key }, row.rule, id), { class: 'primary' });
        openDrawer(finding.Title,
            h('p', null, badge(row.severity, 'f'), ' ', badge(row.workflow, 'w'), ' ', h('span', { class: 'faint' }, finding.RecordState)),
            h('p', null, finding.Description), alert,
            h('dl', { class: 'facts' },
                [['Id', finding.Id], ['Generator', finding.GeneratorId], ['Types', (finding.Types ?? []).join('\n')], ['Product', `${finding.CompanyName ?? ''} ${finding.ProductName ?? ''}`],
                    ['First observed', finding.FirstObservedAt], ['Updated', finding.UpdatedAt], ['Process', finding.Process && `${finding.Process.Name ?? ''} ${finding.Process.Path ?? ''}`]]
                    .filter(([, value]) => value).map(([name, value]) => [h('dt', null, name), h('dd', null, value)])),
            h('h3', null, 'Resources'), h('ul', { class: 'plain' }, (finding.Resources ?? []).map(one => h('li', null, h('b', null, one.Type), ' ', h('span', { class: 'mono' }, one.Id)))),
            h('h3', null, 'JSON (ASFF)'), longText(JSON.stringify(finding, null, 2)), copied(() => JSON.stringify(finding, null, 2), 'Copy JSON'),
            h('h3', null, 'The same by hand'), own.box);
    }
    await load();
    let waiting = 0;
    listen(kind => {
        if (kind !== 'findings') return;
        clearTimeout(waiting);
        waiting = setTimeout(() => renew().catch(() => {}), 300);
    }, signal);
    const id = asked.get('id');
    if (id) openFinding(id);
}

