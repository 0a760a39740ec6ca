// Makes the board live, and lets it be sorted and filtered. Without it the pages are complete.
'use strict';

const page = document.documentElement.dataset;
const $ = (id) => document.getElementById(id);
const story = $('story');

// --- the clock of the server, which the times are told by --------------------

let ahead = 0;
const told = (now) => { ahead = Date.parse(now) - Date.now(); };
told(page.now);

// "12:34:56" of the server's day, or "2026-11-30 12:34", both UTC.
const moment = (text, day) => Date.parse((text.length < 9 ? `${day}T${text}` : text.replace(' ', 'T')) + 'Z');

const ago = (at) => {
  const s = Math.max(0, Math.round((Date.now() + ahead - at) / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
};

const tick = (within) => {
  for (const time of within.querySelectorAll('#boxes time')) {
    const text = ago(time.at);
    if (time.textContent !== text) time.textContent = text;
  }
};

// --- the table ---------------------------------------------------------------

const body = $('boxes')?.tBodies[0];
const rows = new Map(); // by the box's MAC, as it stands in paths
const order = 'fswr'; // of standings: those that need somebody first
const view = { text: '', standing: '', column: 1, down: false };
let day = $('boxes')?.dataset.day;

// Once for each row: what is compared, and times in words.
const prepare = (row) => {
  const cells = [...row.cells];
  row.words = row.textContent.toLowerCase();
  for (const cell of [cells[3], cells[4]]) {
    if (!cell.textContent) continue;
    const time = document.createElement('time');
    time.at = moment(cell.textContent, day);
    time.dateTime = new Date(time.at).toISOString();
    time.title = new Date(time.at).toLocaleString();
    time.textContent = ago(time.at);
    cell.replaceChildren(time);
  }
  const percent = cells[2].querySelector('b');
  if (percent) cells[2].style.setProperty('--percent', percent.textContent.replace(' ', ''));
  const name = cells[0].firstElementChild.textContent;
  const at = (cell) => cell.firstElementChild?.at ?? 0;
  row.keys = [name, order.indexOf(row.className[0]), cells[2].textContent, at(cells[3]), at(cells[4]), cells[5].textContent];
  row.mac = cells[0].firstElementChild.getAttribute('href');
};

const compare = (one, other) => {
  const by = (column) => {
    const [a, b] = [one.keys[column], other.keys[column]];
    return a < b ? -1 : a > b ? 1 : 0;
  };
  return (view.down ? -by(view.column) : by(view.column)) || by(0) || (one.mac < other.mac ? -1 : 1);
};

const arrange = () => {
  const focused = document.activeElement;
  const sorted = [...rows.values()].sort(compare);
  sorted.forEach((row, place) => {
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
  });
  if (focused !== document.activeElement) focused?.focus();
  const words = view.text.toLowerCase().split(/\s+/);
  let seen = 0;
  for (const row of sorted) {
    const fits = (!view.standing || row.className[0] === view.standing) && words.every((word) => row.words.includes(word));
    if (row.hidden === fits) row.hidden = !fits;
    seen += fits;
  }
  const isPart = view.text || view.standing;
  const count = isPart ? `${seen} of ${sorted.length} boxes` : '';
  if ($('count').textContent !== count) $('count').textContent = count;
  $('none').hidden = sorted.length > 0;
};

// What is sorted and filtered stands in the address: it survives a look at a story, and can be shared.
const remember = () => {
  const words = new URLSearchParams();
  if (view.text) words.set('filter', view.text);
  if (view.standing) words.set('standing', view.standing);
  if (view.column !== 1 || view.down) words.set('sort', (view.down ? '-' : '') + view.column);
  history.replaceState(null, '', location.pathname + (words.size ? `#${words}` : ''));
};

const controls = () => {
  const heads = [...$('boxes').tHead.rows[0].cells];
  const buttons = [...$('totals').children].map((item) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...item.childNodes);
    item.append(button);
    return [item.className, button];
  });
  const show = () => {
    heads.forEach((head, column) => {
      if (column === view.column) head.setAttribute('aria-sort', view.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    for (const [standing, button] of buttons) button.setAttribute('aria-pressed', standing === view.standing);
    $('filter').value = view.text;
    arrange();
  };
  const change = (what) => {
    Object.assign(view, what);
    remember();
    show();
  };
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    button.onclick = () => change({ column, down: view.column === column && !view.down });
    head.append(button);
  });
  for (const [standing, button] of buttons) {
    button.onclick = () => change({ standing: view.standing === standing ? '' : standing });
  }
  $('filter').oninput = () => change({ text: $('filter').value });
  $('find').onsubmit = (event) => event.preventDefault();
  $('find').hidden = false;
  const words = new URLSearchParams(location.hash.slice(1));
  const sort = words.get('sort') ?? '1';
  view.text = words.get('filter') ?? '';
  view.standing = words.get('standing') ?? '';
  view.down = sort.startsWith('-');
  view.column = Math.min(heads.length - 1, Math.abs(parseInt(sort, 10) || 0));
  show();
};

const put = (row, isNew) => {
  prepare(row);
  const old = rows.get(row.mac);
  const isFocused = old?.contains(document.activeElement);
  if (old) old.replaceWith(row);
  rows.set(row.mac, row);
  if (isNew) row.classList.add('new');
  if (isFocused) {
    if (!row.isConnected) body.append(row);
    row.cells[0].firstElementChild.focus();
  }
};

const needy = () => `${$('failed').textContent} failed, ${$('stalled').textContent} stalled`;
let said = body && needy();

const refresh = (news) => {
  const parsed = document.createElement('template');
  parsed.innerHTML = news.rows;
  day = news.day;
  if (news.whole) {
    body.replaceChildren();
    rows.clear();
  }
  for (const gone of news.gone) {
    const mac = gone.replaceAll(':', '');
    rows.get(mac)?.remove();
    rows.delete(mac);
  }
  for (const row of [...parsed.content.children]) put(row, !news.whole);
  arrange();
  const { ready, on_their_way, failed, stalled, known } = news.totals;
  for (const [id, count] of Object.entries({ ready, on_their_way, failed, stalled })) $(id).textContent = count;
  document.title = `${failed} failed, ${stalled} stalled, ${ready} of ${known} ready`;
  // A screen reader is told what may need somebody, not each report.
  if (said !== (said = needy())) $('said').textContent = said;
  for (const [id, isTrue] of Object.entries(news.notices)) $(id).hidden = !isTrue;
  $('drift').hidden = !news.drifting;
  $('drifting').textContent = news.drifting;
};

// --- a story -----------------------------------------------------------------

const reread = async (news) => {
  if (!news.whole && !news.rows.includes(`href=${story.dataset.box}>`)) return;
  const answer = await fetch(location.pathname);
  if (!answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
  document.title = next.title;
  $('story').replaceChildren(...next.getElementById('story').childNodes);
};

// --- the stream --------------------------------------------------------------

// The server says something every five seconds at least.
const SILENCE = 15000;
const AGAIN = 5000;
let stream, watchdog, retry;
let mark = page.mark;

let since = '';
const live = (is) => {
  since = is ? '' : since || new Date().toLocaleTimeString();
  const text = is ? 'Live.' : `Not live since ${since}: trying again.`;
  if ($('live').textContent !== text) $('live').textContent = text;
  $('live').classList.toggle('lost', !is);
};

const heard = () => {
  live(true);
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
};

const lost = () => {
  live(false);
  stream.close();
  clearTimeout(watchdog);
  clearTimeout(retry);
  retry = setTimeout(follow, AGAIN);
};

function follow() {
  clearTimeout(retry);
  stream?.close();
  stream = new EventSource(`/board/events?after=${mark}`);
  stream.onopen = heard;
  stream.addEventListener('alive', heard);
  // The browser connects again by itself where it was connected; not where it was refused.
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) lost();
    else live(false);
  };
  stream.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.version !== page.version) return location.reload();
    mark = event.lastEventId;
    told(news.now);
    heard();
    if (body) refresh(news);
    else reread(news);
  };
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
}

if (body) {
  for (const row of body.rows) {
    prepare(row);
    rows.set(row.mac, row);
  }
  $('as_of').hidden = true;
  controls();
  setInterval(() => tick(document), 1000);
}
follow();

// A page that nobody looks at takes no place from others.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) return follow();
  stream?.close();
  clearTimeout(watchdog);
  clearTimeout(retry);
});
