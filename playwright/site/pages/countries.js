// The countries of the world in a database that runs in this tab.
const form = document.querySelector('#figures form');
const query = form.querySelector('textarea');
const message = form.querySelector('output');
const head = document.querySelector('#figures thead');
const body = document.querySelector('#figures tbody');

async function open() {
  const [engine, world] = await Promise.all([
    initSqlJs({ locateFile: (file) => `engine/${file}` }),
    fetch('data/countries.geojson').then((response) => response.json()),
  ]);
  const database = new engine.Database();
  database.run('CREATE TABLE countries (code TEXT, name TEXT, continent TEXT, people INTEGER, income TEXT)');
  const insert = database.prepare('INSERT INTO countries VALUES (?, ?, ?, ?, ?)');
  for (const { properties } of world.features) {
    insert.run([properties.ISO_A2, properties.NAME_LONG, properties.CONTINENT, properties.POP_EST, properties.INCOME_GRP]);
  }
  insert.free();
  return database;
}

function row(kind, values, columns) {
  const line = document.createElement('tr');
  values.forEach((value, index) => {
    const cell = line.appendChild(document.createElement(kind));
    if (kind === 'td' && columns[index] === 'code' && /^[A-Z]{2}$/.test(value)) {
      const flag = cell.appendChild(document.createElement('img'));
      flag.src = `flags/${value.toLowerCase()}.svg`;
      flag.alt = '';
      flag.addEventListener('error', () => flag.remove());
    }
    cell.append(typeof value === 'number' ? value.toLocaleString('en') : String(value ?? ''));
  });
  return line;
}

let opened;

async function ask() {
  try {
    const [result] = (await (opened ??= open())).exec(query.value);
    const columns = result?.columns ?? [];
    head.replaceChildren(row('th', columns, columns));
    body.replaceChildren(...(result?.values ?? []).slice(0, 200).map((values) => row('td', values, columns)));
    message.textContent = '';
  } catch (error) {
    message.textContent = error.message;
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  ask();
});
// The engine and the data are fetched when somebody has come this far down.
window.countriesReady = new Promise((done) => {
  const sight = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    sight.disconnect();
    done(ask());
  }, { rootMargin: '200px' });
  sight.observe(form);
});
