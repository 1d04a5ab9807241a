const nearest = (distances) => distances.indexOf(Math.min(...distances));
const follow = (svg, choose) => {
  const moved = (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    choose((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  svg.addEventListener("pointermove", moved);
  svg.addEventListener("pointerdown", moved);
};
for (const chart of document.querySelectorAll(".chart")) {
  const read = JSON.parse(chart.dataset.read), svg = chart.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const show = (i) => {
    cursor.setAttribute("x1", read.x[i]);
    cursor.setAttribute("x2", read.x[i]);
    const values = Object.entries(read.curves).map(([name, y], k, { length }) => (length > 1 ? `${name} ` : "") + y[i]);
    chart.querySelector("output").textContent = `${read.axis} ${read.at[i]}: ${values.join(", ")}`;
  };
  follow(svg, (x) => show(nearest(read.x.map((at) => Math.abs(at - x)))));
  show(read.x.length - 1);
}
for (const map of document.querySelectorAll(".map")) {
  const read = JSON.parse(map.dataset.read), svg = map.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const sheet = map.querySelector(".sheet");
  const show = (i) => {
    cursor.setAttribute("cx", read.at[i][0]);
    cursor.setAttribute("cy", read.at[i][1]);
    map.querySelector("output").textContent = `datapoint ${i}` + (read.classes[i] ? `, class ${read.classes[i]}` : "");
    map.querySelectorAll("canvas").forEach((canvas, k) => {
      const place = k * read.count + i, w = read.width, h = read.height;
      canvas.width = w;
      canvas.height = h;
      if (h === 1) canvas.style.height = "1.5rem";
      const left = (place % read.columns) * w, top = Math.floor(place / read.columns) * h;
      canvas.getContext("2d").drawImage(sheet, left, top, w, h, 0, 0, w, h);
    });
  };
  follow(svg, (x, y) => show(nearest(read.at.map(([a, b]) => Math.hypot(a - x, b - y)))));
  sheet.decode().then(() => show(0));
}
