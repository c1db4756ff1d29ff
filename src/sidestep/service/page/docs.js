// The routes of the service, as openapi.json describes them.

/** An element with a text and children. */
function made(name, text = "", ...children) {
  const element = document.createElement(name);
  element.textContent = text;
  element.append(...children);
  return element;
}

/** The name of a schema, in the words of JSON: "text", "list of User", "number or null". */
function kind(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  if (schema.additionalProperties?.type || schema.additionalProperties?.anyOf) {
    return `object of ${kind(schema.additionalProperties)}`;
  }
  return { string: "text", integer: "whole number" }[schema.type] ?? schema.type ?? "anything";
}

/** Rows of name, type and meaning in a table that scrolls by itself on a narrow screen. */
function table(rows) {
  const head = made("tr", "", ...["name", "type", "meaning"].map((word) => made("th", word)));
  const lines = rows.map((cells) => made("tr", "", ...cells.map((cell) => made("td", cell))));
  const box = made("div", "", made("table", "", made("thead", "", head), made("tbody", "", ...lines)));
  box.className = "table";
  return box;
}

const needed = (is) => (is ? " (needed)" : "");

/** The fields of an object, by the name of its schema. */
function fields(name, schemas) {
  const { properties = {}, required = [] } = schemas[name] ?? {};
  return table(Object.entries(properties).map(([field, schema]) => [
    field + needed(required.includes(field)), kind(schema), schema.description ?? "",
  ]));
}

/** The names of all schemas that a schema mentions, itself first. */
function mentioned(schema, schemas, found = new Set()) {
  for (const [key, part] of Object.entries(schema ?? {})) {
    if (key === "$ref") {
      const name = part.split("/").at(-1);
      if (!found.has(name)) { found.add(name); mentioned(schemas[name], schemas, found); }
    } else if (typeof part === "object") mentioned(part, schemas, found);
  }
  return found;
}

/** A part that opens by click or by keyboard, with the objects of a message. */
function message(title, content, schemas) {
  const names = [...mentioned(content?.["application/json"]?.schema, schemas)];
  if (!names.length) return [];
  return [made("details", "", made("summary", `${title}: ${names[0]}`),
    ...names.flatMap((name) => [made("h3", name), fields(name, schemas)]))];
}

function route(path, method, operation, schemas) {
  const parts = [made("h2", `${method.toUpperCase()} ${path}`), made("p", operation.description ?? operation.summary)];
  const { parameters = [], requestBody, responses } = operation;
  if (parameters.length) {
    parts.push(table(parameters.map((each) => [
      each.name + needed(each.required), kind(each.schema), each.description ?? `in the ${each.in}`,
    ])));
  }
  parts.push(...message("Request", requestBody?.content, schemas), ...message("Answer", responses["200"]?.content, schemas));
  const refusals = Object.entries(responses).filter(([status]) => status !== "200");
  parts.push(made("ul", "", ...refusals.map(([status, { description }]) => made("li", `${status}: ${description}`))));
  return made("section", "", ...parts);
}

const response = await fetch("openapi.json");
const { paths, components } = await response.json();
document.getElementById("routes").replaceChildren(...Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => route(path, method, operation, components?.schemas ?? {}))));
