// SPDX-License-Identifier: MIT
// The page of `unrolled serve`: the models, a form that runs one, and a live view of a stream.
"use strict";

const POINTS = 240; // timesteps that the plots show
const MOST_LINES = 8; // of a plot
const COLORS = ["#1f6feb", "#d1572b", "#2a9d4a", "#8250df", "#b08800", "#0f7f8c", "#c2358a", "#57606a"];

const element = (id) => document.getElementById(id);
const state = { key: "", model: null, stream: null };

// ------------------------------------------------------------------ the service

async function ask(path, body) {
  const headers = state.key ? { Authorization: `Bearer ${state.key}` } : {};
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const content = await response.json();
  if (!response.ok) {
    if (response.status === 401) element("key-form").hidden = false;
    throw new Error(content.error);
  }
  return content;
}

function showStatus(text) {
  element("status").textContent = text;
  element("status").className = text ? "error" : "";
}

async function loadModels() {
  try {
    const models = await ask("/v2/repository/index");
    element("models").replaceChildren(...models.map(({ name }) => new Option(name, name)));
    showStatus("");
    await chooseModel();
  } catch (error) {
    showStatus(error.message);
  }
}

async function chooseModel() {
  stopStream();
  const model = await ask(`/v2/models/${encodeURIComponent(element("models").value)}`);
  state.model = model;
  const row = (kind) => (tensor) => {
    const cells = [kind, tensor.name, tensor.datatype, `[${tensor.shape.join(", ")}]`];
    const line = document.createElement("tr");
    for (const text of cells) line.insertCell().textContent = text;
    return line;
  };
  element("tensors").replaceChildren(...model.inputs.map(row("input")), ...model.outputs.map(row("output")));
  element("run-inputs").replaceChildren(...model.inputs.map(makeField));
  element("run-output").textContent = element("run-time").textContent = "";
  element("stream").hidden = !model.parameters.sequences;
  if (model.parameters.sequences) prepareStream(model);
}

// --------------------------------------------------------------------- run once

// One row, and as many timesteps as a person wants to see.
const sampleShape = (tensor) => tensor.shape.map((size, axis) => (size > 0 ? size : axis === 0 ? 1 : 4));
const count = (shape) => shape.reduce((product, size) => product * size, 1);

function nested(shape, value) {
  if (shape.length === 0) return value();
  return Array.from({ length: shape[0] }, () => nested(shape.slice(1), value));
}

function makeField(tensor) {
  const label = document.createElement("label");
  const area = document.createElement("textarea");
  const isId = tensor.datatype.startsWith("INT");
  let index = 0;
  const value = () => (isId ? 1 : Number(Math.sin(0.7 * index++).toFixed(3)));
  area.name = tensor.name;
  area.rows = 4;
  area.value = JSON.stringify(nested(sampleShape(tensor), value));
  label.append(`${tensor.name} `, area);
  return label;
}

function shapeOf(data) {
  return Array.isArray(data) ? [data.length, ...(data.length ? shapeOf(data[0]) : [])] : [];
}

async function runOnce(event) {
  event.preventDefault();
  const output = element("run-output");
  output.className = "";
  try {
    const inputs = state.model.inputs.map((tensor) => {
      const data = JSON.parse(event.target.elements[tensor.name].value);
      return { name: tensor.name, datatype: tensor.datatype, shape: shapeOf(data), data };
    });
    const started = performance.now();
    const answer = await ask(`/v2/models/${encodeURIComponent(state.model.name)}/infer`, { inputs });
    element("run-time").textContent = `${(performance.now() - started).toFixed(1)} ms`;
    output.textContent = answer.outputs
      .map(({ name, shape, data }) => `${name} [${shape.join(", ")}]\n${data.map((x) => x.toPrecision(6)).join("  ")}`)
      .join("\n\n");
  } catch (error) {
    output.textContent = error.message;
    output.className = "error";
  }
}

// ------------------------------------------------------------------ live stream

// The elements of one timestep: without the batch and the time axis.
const stepSize = (tensor) => count(tensor.shape.slice(2));
const outputSize = (tensor) => count(tensor.shape.slice(1).map((size) => Math.max(size, 1)));

function prepareStream(model) {
  state.plots = {
    input: makePlot("input-plot", model.inputs[0].name, Math.min(stepSize(model.inputs[0]), MOST_LINES)),
    output: makePlot("output-plot", model.outputs[0].name, Math.min(outputSize(model.outputs[0]), MOST_LINES)),
  };
  element("layer").replaceChildren();
  clearState();
}

function makePlot(id, name, lines) {
  const holder = element(id);
  holder.replaceChildren();
  const series = Array.from({ length: lines }, (_, index) => ({
    label: `${name} ${index}`, stroke: COLORS[index], width: 1.5, points: { show: false },
  }));
  const options = {
    width: 880, height: 190, series: [{ label: "timestep" }, ...series], scales: { x: { time: false } },
    legend: { show: false }, cursor: { show: false },
  };
  const data = Array.from({ length: lines + 1 }, () => []);
  return { plot: new uPlot(options, data, holder), data, lines };
}

function addPoint({ plot, data, lines }, timestep, values) {
  data[0].push(timestep);
  for (let line = 0; line < lines; line++) data[line + 1].push(values[line]);
  if (data[0].length > POINTS) for (const column of data) column.shift();
  plot.setData(data);
}

const SIGNALS = {
  waves: (t, index) => Math.sin(0.15 * t * (1 + 0.37 * index) + index),
  noise: () => Math.random() - 0.5,
  steps: (t, index) => (Math.floor(t / 25 + 0.3 * index) % 2 ? 1 : -1),
};

function makeFrame(model, timestep) {
  const signal = SIGNALS[element("signal").value];
  const parts = model.inputs.map((tensor) => {
    const values = Array.from({ length: stepSize(tensor) }, (_, index) => signal(timestep, index));
    return tensor.datatype === "INT32" ? Int32Array.from(values, (x) => Math.round(1 + x)) : Float32Array.from(values);
  });
  return { frame: new Blob(parts), first: parts[0] };
}

function startStream() {
  const model = state.model;
  const protocol = location.protocol === "https:" ? "wss" : "ws";
  const protocols = ["unrolled.stream", ...(state.key ? [`unrolled.key.${state.key}`] : [])];
  const path = `/v2/models/${encodeURIComponent(model.name)}/stream`;
  const socket = new WebSocket(`${protocol}://${location.host}${path}`, protocols);
  socket.binaryType = "arraybuffer";
  const stream = { socket, timestep: 0, sent: 0, input: null, timer: 0 };
  state.stream = stream;
  const step = () => {
    const { frame, first } = makeFrame(model, stream.timestep);
    stream.input = first;
    stream.sent = performance.now();
    socket.send(frame);
  };
  const stepLater = () => {
    const wait = 1000 / Math.max(1, Number(element("rate").value)) - (performance.now() - stream.sent);
    stream.timer = setTimeout(step, Math.max(0, wait));
  };
  socket.onopen = step;
  socket.onmessage = ({ data }) => {
    if (state.stream !== stream) return;
    if (typeof data === "string") {
      const answer = JSON.parse(data);
      if (answer.error) showStatus(answer.error);
      else if (answer.command === "state") drawState(answer.outputs);
      if (!answer.error) stepLater();
      return;
    }
    element("stream-time").textContent = `${(performance.now() - stream.sent).toFixed(1)} ms a timestep`;
    addPoint(state.plots.input, stream.timestep, stream.input);
    addPoint(state.plots.output, stream.timestep, new Float32Array(data, 0, state.plots.output.lines));
    stream.timestep += 1;
    socket.send('{"command": "state"}');
  };
  socket.onclose = () => {
    if (state.stream === stream) stopStream();
  };
  element("start").textContent = "Stop";
  element("reset").disabled = false;
  showStatus("");
}

function stopStream() {
  if (state.stream) {
    clearTimeout(state.stream.timer);
    state.stream.socket.close();
    state.stream = null;
  }
  element("start").textContent = "Start";
  element("reset").disabled = true;
}

function resetStream() {
  stopStream();
  prepareStream(state.model);
  startStream();
}

// -------------------------------------------------------------------- heat map

function clearState() {
  const canvas = element("state");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

function drawState(tensors) {
  const shown = tensors.filter(({ name, datatype }) => datatype === "FP32" && !name.startsWith("timesteps_seen/"));
  const select = element("layer");
  if (select.options.length !== shown.length) {
    select.replaceChildren(...shown.map(({ name }) => new Option(name, name)));
  }
  const chosen = shown.find(({ name }) => name === select.value);
  if (!chosen) return;
  const canvas = element("state");
  const context = canvas.getContext("2d");
  const column = canvas.width / POINTS;
  const height = canvas.height / chosen.data.length;
  context.drawImage(canvas, -column, 0);
  context.clearRect(canvas.width - column, 0, column, canvas.height);
  chosen.data.forEach((value, unit) => {
    context.fillStyle = color(value);
    context.fillRect(canvas.width - column, unit * height, column, Math.ceil(height));
  });
}

function color(value) {
  const strength = Math.round(255 * (1 - Math.min(Math.abs(value), 1)));
  return value < 0 ? `rgb(${strength}, ${strength}, 255)` : `rgb(255, ${strength}, ${strength})`;
}

// -------------------------------------------------------------------- controls

element("models").addEventListener("change", () => chooseModel().catch((error) => showStatus(error.message)));
element("run-form").addEventListener("submit", runOnce);
element("start").addEventListener("click", () => (state.stream ? stopStream() : startStream()));
element("reset").addEventListener("click", resetStream);
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = element("key").value.trim();
  loadModels();
});
loadModels();
