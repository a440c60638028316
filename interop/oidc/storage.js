// What the provider remembers, in this process. Several providers share it: the one with new keys
// knows the tokens of the one with old keys.

export function storage() {
  const entries = new Map();
  const byUid = new Map();
  const byUserCode = new Map();
  const grants = new Map();

  return class Adapter {
    constructor(name) {
      this.name = name;
    }

    key(id) {
      return `${this.name}:${id}`;
    }

    async upsert(id, payload, expiresIn) {
      const key = this.key(id);
      const until = expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000;
      entries.set(key, { payload, until });
      if (payload.uid) byUid.set(payload.uid, id);
      if (payload.userCode) byUserCode.set(payload.userCode, id);
      if (payload.grantId) {
        grants.set(payload.grantId, [...(grants.get(payload.grantId) ?? []), key]);
      }
    }

    async find(id) {
      const entry = entries.get(this.key(id));
      return entry && entry.until > Date.now() ? entry.payload : undefined;
    }

    async findByUid(uid) {
      return this.find(byUid.get(uid));
    }

    async findByUserCode(userCode) {
      return this.find(byUserCode.get(userCode));
    }

    async consume(id) {
      const entry = entries.get(this.key(id));
      if (entry) entry.payload.consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      entries.delete(this.key(id));
    }

    async revokeByGrantId(grantId) {
      for (const key of grants.get(grantId) ?? []) entries.delete(key);
      grants.delete(grantId);
    }
  };
}
