// The drawing area: dark strokes on white in both colour schemes.

const STROKE = { lineWidth: 20, lineCap: "round", lineJoin: "round", strokeStyle: "#111" };

/** `onStroke` receives the drawing as a PNG at the end of each stroke. */
export class Pad {
  #canvas;
  #pen;

  constructor(canvas, onStroke) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#draw(event));
    canvas.addEventListener("pointerup", () => canvas.toBlob(onStroke));
  }

  clear() {
    this.#pen.fillStyle = "#fff";
    this.#pen.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #begin(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    Object.assign(this.#pen, STROKE);
    this.#pen.beginPath();
    this.#pen.moveTo(...this.#point(event));
    this.#pen.lineTo(...this.#point(event)); // a tap leaves a dot
    this.#pen.stroke();
  }

  #draw(event) {
    if (!this.#canvas.hasPointerCapture(event.pointerId)) return;
    this.#pen.lineTo(...this.#point(event));
    this.#pen.stroke();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }
}
