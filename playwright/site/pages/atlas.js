// Views of the Earth, fetched by script: the first when it comes into sight, the others after it.
const views = [
  ['Blue marble', 'earth/blue-marble.jpg', 'The planet as it looks from far away, without its clouds.'],
  ['Night', 'earth/night.jpg', 'The same, lit by those who live there.'],
  ['Day', 'earth/day.jpg', 'Land cover in daylight.'],
  ['Topology', 'earth/topology.png', 'Heights: the whiter, the higher.'],
  ['Water', 'earth/water.png', 'Where the sea is.'],
];
const canvas = document.querySelector('#earth canvas');
const caption = document.querySelector('#earth figcaption');
const list = document.querySelector('.views');
const pictures = new Map();

function picture(source) {
  if (!pictures.has(source)) {
    const arriving = fetch(source)
      .then((response) => (response.ok ? response.blob() : Promise.reject(new Error(`${source}: ${response.status}`))))
      .then(createImageBitmap);
    // A failed view may be asked for again.
    arriving.catch(() => pictures.delete(source));
    pictures.set(source, arriving);
  }
  return pictures.get(source);
}

async function show(index) {
  const [, source, words] = views[index];
  [...list.children].forEach((button, at) => button.setAttribute('aria-selected', String(at === index)));
  try {
    canvas.getContext('2d').drawImage(await picture(source), 0, 0, canvas.width, canvas.height);
    caption.textContent = words;
  } catch (error) {
    caption.textContent = `This view did not arrive: ${error.message}`;
  }
}

views.forEach(([name], index) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.role = 'tab';
  button.textContent = name;
  button.addEventListener('click', () => show(index));
  list.append(button);
});

// Resolves to whether all views arrived, once somebody has come this far down.
window.atlasReady = new Promise((done) => {
  const sight = new IntersectionObserver(async ([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    sight.disconnect();
    await show(0);
    const all = await Promise.allSettled(views.map(([, source]) => picture(source)));
    done(all.every(({ status }) => status === 'fulfilled'));
  }, { rootMargin: '200px' });
  sight.observe(canvas);
});
