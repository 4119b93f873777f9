// The before/after viewer: takes its images from the table of tiles before it.
"use strict";
for (const viewer of document.querySelectorAll(".viewer")) {
  const table = document.getElementById(viewer.dataset.tiles);
  const heads = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows];
  const control = (name) => viewer.querySelector(`[name="${name}"]`);
  const [image, before, after, zoom, split] =
    ["image", "before", "after", "zoom", "split"].map(control);
  const stage = viewer.querySelector(".stage");
  const pair = viewer.querySelector(".pair");
  const [under, over] = pair.querySelectorAll("img");
  const edge = pair.querySelector(".edge");
  const said = viewer.querySelector("output");

  const fill = (select, names, chosen) => {
    names.forEach((name, k) => select.add(new Option(name, k, k === chosen, k === chosen)));
  };
  fill(image, rows.map((row) => row.cells[0].textContent.trim()), 0);
  const of = (name, otherwise) => {
    const found = heads.indexOf(name);
    return found < 0 ? otherwise : found;
  };
  fill(before, heads, of(viewer.dataset.before, 0));
  fill(after, heads, of(viewer.dataset.after, heads.length - 1));

  const show = () => {
    const cells = rows[image.value].cells;
    const tile = (select) => cells[Number(select.value) + 1].querySelector("img");
    for (const [target, select] of [[under, before], [over, after]]) {
      const source = tile(select);
      target.hidden = source === null;
      if (source === null) continue;
      target.src = source.src;
      target.alt = source.alt;
    }
    // Whole multiples of the pixels of the high-resolution image: what is seen is what is there.
    const [width, height] =
      [viewer.dataset.width, viewer.dataset.height].map((side) => Number(side) * Number(zoom.value));
    const former = pair.clientWidth || width;
    const middle = [
      (stage.scrollLeft + stage.clientWidth / 2) / former,
      (stage.scrollTop + stage.clientHeight / 2) / former,
    ];
    for (const element of [under, over, pair]) {
      element.style.width = `${width}px`;
      element.style.height = `${height}px`;
    }
    over.style.clipPath = `inset(0 0 0 ${split.value}%)`;
    edge.style.left = `${split.value}%`;
    if (width !== former) {
      stage.scrollLeft = middle[0] * width - stage.clientWidth / 2;
      stage.scrollTop = middle[1] * width - stage.clientHeight / 2;
    }
    const missing = [under, over].some((element) => element.hidden) ? ", one is not there" : "";
    said.textContent =
      `${zoom.value} x, left: ${heads[before.value]}, right: ${heads[after.value]}${missing}`;
  };

  // The mouse drags the crop; the arrow keys scroll it, as it can have the focus.
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!stage.hasPointerCapture(event.pointerId)) return;
    stage.scrollLeft -= event.movementX;
    stage.scrollTop -= event.movementY;
  });
  viewer.addEventListener("input", show);
  show();
  viewer.hidden = false;
}

// On paper everything is open.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
