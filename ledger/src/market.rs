//! The market of licences: each has a price, and whoever pays it has the licence.
//!
//! A holder declares what a licence is worth (Harberger): on that value it pays
//! tax, and at that value anyone may buy it. All amounts are whole credits.
//!
//! | action | `payload.data` | does |
//! |---|---|---|
//! | `market/join` | – | opens an account and gives it the endowment, while the reserve lasts |
//! | `market/issue` | `licence_id`, `resource`, `quantity`, `value` | takes a new licence |
//! | `market/buy` | `licence_id`, `price`, `value` | buys a licence at its declared value, and declares a new one |
//! | `market/assess` | `licence_id`, `value` | pays the tax on the old value and declares another |
//! | `market/pay` | `licence_id` | pays the tax and renews the licence for [`LICENCE_MS`] |
//! | `market/release` | `licence_id` | pays the tax and gives the licence up; anyone may release one that has expired |
//!
//! **Tax** is value × rate × elapsed / year. It is counted in millionths of a
//! credit and paid in whole ones; what is left below one stays owed, so that
//! nobody pays less by paying often. When a licence is sold or given up, the
//! rest is rounded up. A buyer's price pays the seller's back tax first. A
//! licence that is not renewed in time has expired: it can still be renewed, or
//! bought like any other, but anyone may end it, and its holder pays the tax as
//! far as the balance goes. Tax goes to a pool, which is shared out equally among all accounts
//! once per epoch: the first action of an epoch raises the dividend that each
//! account has had in total, and an account draws its part when it is touched.
//!
//! **Gini**: how unequally one kind of resource is held, from 0 to 1. An
//! acquisition that brings it above the limit is refused, unless it lowers it or
//! leaves the acquirer with no more than the mean of all holders: whoever has
//! little is not refused because others have much. One holder alone has nobody
//! to be compared with, which is a monopoly and no equality: an acquisition may
//! leave it a governed quantity, to begin with, or what the one holder before
//! it had.
//!
//! **Conservation**: reserve, pool, what dividends still owe, and all balances
//! add up to [`SUPPLY`], for ever.

use crate::codes::{Code, Rejection};
use crate::forms::Uuid;
use crate::parameters::LedgerParameters;
use alloc::collections::BTreeMap;
use bizra_types::crypto::PublicKey;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::TimestampMs;

/// All credits that there are.
pub const SUPPLY: u64 = 1_000_000_000_000;

/// How long a licence lasts after it was taken, bought or renewed, in ms: a day.
pub const LICENCE_MS: u64 = 86_400_000;

/// The time for which the rate of the tax stands, in ms: 365 days.
pub const TAX_PERIOD_MS: u64 = 365 * 86_400_000;

/// Most units of a resource in one licence.
pub const QUANTITY_MAX: u64 = 1_000_000_000;

/// Most units of a resource in all licences together; it keeps products of Gini coefficients
/// within 128 bits.
pub const HOLDINGS_MAX: u64 = 1 << 50;

/// Most accounts that hold licences of one resource.
pub const HOLDERS_MAX: usize = 1_024;

const MILLION: u64 = 1_000_000;

/// What a licence allows the use of; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Resource {
    /// `cpu`, in thousandths of a core
    Cpu = 1,
    /// `gpu`, in thousandths of a card
    Gpu = 2,
    /// `memory`, in MiB
    Memory = 3,
    /// `storage`, in MiB
    Storage = 4,
    /// `bandwidth`, in kbit/s
    Bandwidth = 5,
    /// `inference`, in calls at a time
    Inference = 6,
    /// `consensus`, in seats
    Consensus = 7,
}

/// `payload.data` of a `market/…` action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketAction {
    /// `market/join`
    Join,
    /// `market/issue`
    Issue {
        /// The name of the new licence.
        licence_id: Uuid,
        /// What it is for.
        resource: Resource,
        /// How much of it.
        quantity: u64,
        /// What it is worth to the sender, in credits.
        value: u64,
    },
    /// `market/buy`
    Buy {
        /// The licence.
        licence_id: Uuid,
        /// Its declared value, so that nobody pays a price that was raised meanwhile.
        price: u64,
        /// What it is worth to the sender, in credits.
        value: u64,
    },
    /// `market/assess`
    Assess {
        /// The licence.
        licence_id: Uuid,
        /// What it is worth to the sender now, in credits.
        value: u64,
    },
    /// `market/pay`
    Pay {
        /// The licence.
        licence_id: Uuid,
    },
    /// `market/release`
    Release {
        /// The licence.
        licence_id: Uuid,
    },
}

/// Value of [`Family::Market`](crate::plain::Family::Market): what belongs to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Credits that endow new accounts.
    pub reserve: u64,
    /// Tax that has not been shared out.
    pub pool: u64,
    /// What every account has been given of the pool in total, if it was there all the time.
    pub dividend: u64,
    /// Credits of dividends that accounts have not drawn yet.
    pub undrawn: u64,
    /// How many accounts there are.
    pub accounts: u64,
    /// The latest epoch in which the pool was shared out.
    pub epoch: u64,
}

/// Value of [`Family::Account`](crate::plain::Family::Account), by its owner's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Credits.
    pub balance: u64,
    /// The total dividend up to which it has drawn.
    pub dividend: u64,
}

/// Value of [`Family::Licence`](crate::plain::Family::Licence), by its UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Licence {
    /// What it is for.
    pub resource: Resource,
    /// How much of it.
    pub quantity: u64,
    /// Who has it.
    pub holder: PublicKey,
    /// What it is worth to its holder, and costs everyone else, in credits.
    pub value: u64,
    /// When it was taken first.
    pub issued_at: TimestampMs,
    /// Up to when tax has been counted.
    pub taxed_at: TimestampMs,
    /// When it expires.
    pub expires_at: TimestampMs,
    /// Tax that is counted and not paid, in millionths of a credit.
    pub tax_debt: u64,
}

/// Value of [`Family::Holdings`](crate::plain::Family::Holdings), by the number of the resource:
/// who holds how much of it; nobody holds 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings(pub BTreeMap<PublicKey, u64>);

/// A Gini coefficient as an exact fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gini {
    /// Sum of the differences of all pairs.
    pub numerator: u128,
    /// Holders times the sum of holdings; 1 if there are fewer than two.
    pub denominator: u128,
}

/// All that one action may read and change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// What belongs to everyone.
    pub market: Market,
    /// The accounts of the sender and of the licence's holder, as far as they exist.
    pub accounts: BTreeMap<PublicKey, Account>,
    /// The licence that the action names, if it exists.
    pub licence: Option<Licence>,
    /// Who holds the resource in question, once the action has asked for it.
    pub holdings: Option<Holdings>,
}

impl MarketAction {
    /// Reads `payload.data` of the action of this name; `None` if the market has no such action.
    #[must_use]
    pub fn read(action: &str, data: &Member<'_>) -> Option<Result<Self, SchemaError>> {
        let verb = action.strip_prefix("market/")?;
        matches!(verb, "join" | "issue" | "buy" | "assess" | "pay" | "release")
            .then(|| Self::read_verb(verb, data))
    }

    fn read_verb(verb: &str, data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let action = if verb == "join" {
            Self::Join
        } else {
            let licence_id = Uuid::read_version_4(&object.take("licence_id")?)?;
            match verb {
                "issue" => Self::Issue {
                    licence_id,
                    resource: object.take("resource")?.one_of(RESOURCES)?,
                    quantity: object.take("quantity")?.unsigned_in(0..=QUANTITY_MAX)?,
                    value: object.take("value")?.unsigned_in(0..=SUPPLY)?,
                },
                "buy" => Self::Buy {
                    licence_id,
                    price: object.take("price")?.unsigned_in(0..=SUPPLY)?,
                    value: object.take("value")?.unsigned_in(0..=SUPPLY)?,
                },
                "assess" => Self::Assess {
                    licence_id,
                    value: object.take("value")?.unsigned_in(0..=SUPPLY)?,
                },
                "pay" => Self::Pay { licence_id },
                _ => Self::Release { licence_id },
            }
        };
        object.finish()?;
        Ok(action)
    }

    /// The name of the action.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Join => "market/join",
            Self::Issue { .. } => "market/issue",
            Self::Buy { .. } => "market/buy",
            Self::Assess { .. } => "market/assess",
            Self::Pay { .. } => "market/pay",
            Self::Release { .. } => "market/release",
        }
    }

    /// The licence that it names.
    #[must_use]
    pub const fn licence_id(&self) -> Option<Uuid> {
        match self {
            Self::Join => None,
            Self::Issue { licence_id, .. }
            | Self::Buy { licence_id, .. }
            | Self::Assess { licence_id, .. }
            | Self::Pay { licence_id }
            | Self::Release { licence_id } => Some(*licence_id),
        }
    }

    /// Changes the books as the action says. After a refusal they are worth nothing. `read`
    /// gives the holdings of a resource; it is asked by what changes them, after all else was
    /// found right, because their list is long.
    ///
    /// # Errors
    /// [`Code::InvalidTransaction`] when there is no such licence or account, or it is not the
    /// sender's; [`Code::Negative`] when the sender cannot pay; [`Code::Dust`] for an amount of
    /// 0; [`Code::Gini`] when the resource would be held too unequally; [`Code::Conservation`]
    /// when credits would appear or vanish. What `read` fails with.
    pub fn execute<E: From<Rejection>>(
        &self,
        sender: PublicKey,
        now: TimestampMs,
        books: &mut Books,
        parameters: &LedgerParameters,
        read: impl FnOnce(Resource) -> Result<Holdings, E>,
    ) -> Result<(), E> {
        let total = books.total();
        books.market.share_out(now.get() / parameters.governance_epoch_ms);
        match *self {
            Self::Join => books.join(sender, parameters)?,
            Self::Issue { resource, quantity, value, .. } => {
                books.issue(sender, resource, quantity, value, now)?;
                let mut holdings = read(resource)?;
                let before = holdings.clone();
                holdings.give(sender, quantity)?;
                holdings.check_acquisition(&before, sender, parameters)?;
                books.holdings = Some(holdings);
            }
            Self::Buy { price, value, .. } => {
                let sold = books.buy(sender, price, value, now, parameters)?;
                let mut holdings = read(sold.resource)?;
                let before = holdings.clone();
                holdings.take(sold.holder, sold.quantity);
                holdings.give(sender, sold.quantity)?;
                holdings.check_acquisition(&before, sender, parameters)?;
                books.holdings = Some(holdings);
            }
            Self::Assess { value, .. } => {
                check_amount("value", value)?;
                books.own_licence(sender)?.count_tax(now, parameters);
                books.pay_tax(sender, Rounding::Down)?;
                books.own_licence(sender)?.value = value;
            }
            Self::Pay { .. } => {
                books.own_licence(sender)?.count_tax(now, parameters);
                books.pay_tax(sender, Rounding::Down)?;
                let licence = books.own_licence(sender)?;
                licence.expires_at = now.saturating_add_ms(LICENCE_MS);
            }
            Self::Release { .. } => {
                let released = books.release(sender, now, parameters)?;
                let mut holdings = read(released.resource)?;
                holdings.take(released.holder, released.quantity);
                books.holdings = Some(holdings);
            }
        }
        Ok(check_conserved(total, books.total())?)
    }
}

/// What becomes of a part of a credit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// It stays owed.
    Down,
    /// It is paid as a whole one.
    Up,
}

impl Books {
    /// Credits in these books.
    #[must_use]
    pub fn total(&self) -> u128 {
        let Market { reserve, pool, undrawn, .. } = self.market;
        let balances = self.accounts.values().map(|account| u128::from(account.balance));
        u128::from(reserve) + u128::from(pool) + u128::from(undrawn) + balances.sum::<u128>()
    }

    fn join(&mut self, sender: PublicKey, parameters: &LedgerParameters) -> Result<(), Rejection> {
        if self.accounts.contains_key(&sender) {
            return Err(invalid("sender.public_key", "must have no account yet, but has one"));
        }
        let balance = parameters.market_endowment.min(self.market.reserve);
        self.market.reserve -= balance;
        self.market.accounts += 1;
        let account = Account { balance, dividend: self.market.dividend };
        self.accounts.insert(sender, account);
        Ok(())
    }

    fn issue(
        &mut self,
        sender: PublicKey,
        resource: Resource,
        quantity: u64,
        value: u64,
        now: TimestampMs,
    ) -> Result<(), Rejection> {
        self.account(sender)?;
        check_amount("quantity", quantity)?;
        check_amount("value", value)?;
        if self.licence.is_some() {
            return Err(invalid("payload.data.licence_id", "must be new, but is taken"));
        }
        self.licence = Some(Licence {
            resource,
            quantity,
            holder: sender,
            value,
            issued_at: now,
            taxed_at: now,
            expires_at: now.saturating_add_ms(LICENCE_MS),
            tax_debt: 0,
        });
        Ok(())
    }

    /// Returns the licence as its seller had it.
    fn buy(
        &mut self,
        buyer: PublicKey,
        price: u64,
        value: u64,
        now: TimestampMs,
        parameters: &LedgerParameters,
    ) -> Result<Licence, Rejection> {
        check_amount("value", value)?;
        let mut licence = self.licence.ok_or_else(no_licence)?;
        let seller = licence.holder;
        if seller == buyer {
            let detail = "must be held by another account, but is the sender's own";
            return Err(invalid("payload.data.licence_id", detail));
        }
        if price != licence.value {
            let detail = format!("must be {}, the declared value, but is {price}", licence.value);
            return Err(invalid("payload.data.price", detail));
        }
        let account = self.account(buyer)?;
        account.pay("payload.data.price", price)?;
        licence.count_tax(now, parameters);
        let tax = licence.owed(Rounding::Up).min(price);
        self.market.pool += tax;
        self.account(seller)?.balance += price - tax;
        self.licence = Some(Licence {
            holder: buyer,
            value,
            expires_at: now.saturating_add_ms(LICENCE_MS),
            tax_debt: 0,
            ..licence
        });
        Ok(licence)
    }

    /// Ends a licence, and returns what it was. Of one that has expired the holder pays what it
    /// can: nobody keeps a place among the holders by being unable to pay.
    fn release(
        &mut self,
        sender: PublicKey,
        now: TimestampMs,
        parameters: &LedgerParameters,
    ) -> Result<Licence, Rejection> {
        let mut licence = self.licence.ok_or_else(no_licence)?;
        let has_expired = licence.has_expired(now);
        if licence.holder != sender && !has_expired {
            let detail = format!(
                "must be a licence of the sender or have expired, but is held by another until {}",
                licence.expires_at
            );
            return Err(invalid("payload.data.licence_id", detail));
        }
        licence.count_tax(now, parameters);
        let owed = licence.owed(Rounding::Up);
        let holder = self.account(licence.holder)?;
        let tax = if has_expired { owed.min(holder.balance) } else { owed };
        holder.pay("payload.data.licence_id", tax)?;
        self.market.pool += tax;
        self.licence = None;
        Ok(licence)
    }

    fn pay_tax(&mut self, holder: PublicKey, rounding: Rounding) -> Result<(), Rejection> {
        let licence = self.own_licence(holder)?;
        let tax = licence.owed(rounding);
        licence.tax_debt = licence.tax_debt.saturating_sub(tax.saturating_mul(MILLION));
        self.account(holder)?.pay("payload.data.licence_id", tax)?;
        self.market.pool += tax;
        Ok(())
    }

    /// The account of a key, with its dividends drawn.
    fn account(&mut self, owner: PublicKey) -> Result<&mut Account, Rejection> {
        let account = self.accounts.get_mut(&owner).ok_or_else(|| {
            invalid("sender.public_key", "must have an account, but has not joined the market")
        })?;
        let drawn = self.market.dividend - account.dividend;
        account.dividend = self.market.dividend;
        account.balance += drawn;
        self.market.undrawn -= drawn;
        Ok(account)
    }

    fn own_licence(&mut self, sender: PublicKey) -> Result<&mut Licence, Rejection> {
        let licence = self.licence.as_mut().ok_or_else(no_licence)?;
        if licence.holder != sender {
            let detail = "must be a licence of the sender, but is held by another";
            return Err(invalid("payload.data.licence_id", detail));
        }
        Ok(licence)
    }
}

impl Market {
    /// Before the first action.
    #[must_use]
    pub const fn new() -> Self {
        Self { reserve: SUPPLY, pool: 0, dividend: 0, undrawn: 0, accounts: 0, epoch: 0 }
    }

    /// Shares the pool out if the epoch is a new one; what cannot be shared equally stays.
    fn share_out(&mut self, epoch: u64) {
        // Not `<=`: when the length of an epoch is changed, their numbers start anew.
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        let share = self.pool.checked_div(self.accounts).unwrap_or(0);
        self.pool -= share * self.accounts;
        self.undrawn += share * self.accounts;
        self.dividend += share;
    }
}

impl Default for Market {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    fn pay(&mut self, member: &str, amount: u64) -> Result<(), Rejection> {
        let balance = self.balance;
        self.balance = balance.checked_sub(amount).ok_or_else(|| {
            let detail = format!("costs {amount} credits, but the sender has {balance}");
            Rejection::new(Code::Negative, member, detail)
        })?;
        Ok(())
    }
}

impl Licence {
    /// Whether it was not renewed in time.
    #[must_use]
    pub fn has_expired(&self, now: TimestampMs) -> bool {
        now >= self.expires_at
    }

    /// Adds the tax since it was counted last to the debt.
    fn count_tax(&mut self, now: TimestampMs, parameters: &LedgerParameters) {
        let elapsed_ms = now.saturating_ms_since(self.taxed_at);
        let tax =
            u128::from(self.value) * u128::from(parameters.market_tax_ppm) * u128::from(elapsed_ms)
                / u128::from(TAX_PERIOD_MS);
        // A debt beyond all credits changes nothing any more.
        let tax = u64::try_from(tax).unwrap_or(u64::MAX);
        self.tax_debt = self.tax_debt.saturating_add(tax);
        self.taxed_at = now;
    }

    /// The debt in credits.
    const fn owed(&self, rounding: Rounding) -> u64 {
        match rounding {
            Rounding::Down => self.tax_debt / MILLION,
            Rounding::Up => self.tax_debt.div_ceil(MILLION),
        }
    }
}

impl Holdings {
    /// How unequally it is held; 0 with fewer than two holders.
    #[must_use]
    pub fn gini(&self) -> Gini {
        let mut ascending: Vec<u128> = self.0.values().map(|held| u128::from(*held)).collect();
        let count = ascending.len() as u128;
        if count < 2 {
            return Gini { numerator: 0, denominator: 1 };
        }
        ascending.sort_unstable();
        // Σ (2i − n − 1)·xᵢ, i from 1, is the sum of all pairs' differences.
        let weighted: u128 = ascending.iter().zip(1..).map(|(held, at)| 2 * at * held).sum();
        let sum: u128 = ascending.iter().sum();
        Gini { numerator: weighted - (count + 1) * sum, denominator: count * sum }
    }

    /// Whether one holder may have acquired what it has now, where there was `before`.
    fn check_acquisition(
        &self,
        before: &Self,
        acquirer: PublicKey,
        parameters: &LedgerParameters,
    ) -> Result<(), Rejection> {
        let refuse =
            |detail: String| Err(Rejection::new(Code::Gini, "payload.data.licence_id", detail));
        let held = self.0.get(&acquirer).copied().unwrap_or(0);
        if self.0.len() < 2 {
            let limit = parameters.market_sole_units_max;
            let held_before = if before.0.len() == 1 { before.sum() } else { 0 };
            if held > limit && held > held_before {
                return refuse(format!(
                    "would leave all {held} units of the resource to one holder, who may have \
                     {limit} alone"
                ));
            }
            return Ok(());
        }
        let is_above_mean = u128::from(held) * self.0.len() as u128 > u128::from(self.sum());
        let after = self.gini();
        let is_too_high = after.is_above(parameters.gini_max_ppm) && !after.is_below(before.gini());
        if is_above_mean && is_too_high {
            return refuse(format!(
                "would bring the Gini coefficient of the resource to {} parts per million, where \
                 at most {} are allowed to whoever has more than the mean",
                after.parts_per_million(),
                parameters.gini_max_ppm
            ));
        }
        Ok(())
    }

    /// Units of all holders; within 64 bits, as each addition is checked.
    fn sum(&self) -> u64 {
        self.0.values().sum()
    }

    fn give(&mut self, holder: PublicKey, quantity: u64) -> Result<(), Rejection> {
        *self.0.entry(holder).or_default() += quantity;
        let all = self.sum();
        if all > HOLDINGS_MAX {
            let detail =
                format!("would make {all} units, where at most {HOLDINGS_MAX} are allowed");
            return Err(invalid("payload.data.quantity", detail));
        }
        if self.0.len() > HOLDERS_MAX {
            let detail = format!("is of a resource that {HOLDERS_MAX} accounts hold already");
            return Err(invalid("payload.data.licence_id", detail));
        }
        Ok(())
    }

    fn take(&mut self, holder: PublicKey, quantity: u64) {
        if let Some(held) = self.0.get_mut(&holder) {
            *held -= quantity;
            if *held == 0 {
                self.0.remove(&holder);
            }
        }
    }
}

impl Gini {
    /// The coefficient in parts per million, cut off.
    #[must_use]
    pub const fn parts_per_million(self) -> u128 {
        self.numerator * MILLION as u128 / self.denominator
    }

    /// Whether it is above a limit in parts per million.
    #[must_use]
    pub fn is_above(self, limit_ppm: u64) -> bool {
        self.numerator * u128::from(MILLION) > u128::from(limit_ppm) * self.denominator
    }

    /// Whether it is below another.
    #[must_use]
    pub const fn is_below(self, other: Self) -> bool {
        self.numerator * other.denominator < other.numerator * self.denominator
    }
}

fn check_amount(member: &str, amount: u64) -> Result<(), Rejection> {
    if amount == 0 {
        let member = format!("payload.data.{member}");
        return Err(Rejection::new(Code::Dust, member, "must be at least 1, but is 0"));
    }
    Ok(())
}

/// Execution is total, so that a fault of ours here costs a record and not the network.
fn check_conserved(before: u128, after: u128) -> Result<(), Rejection> {
    if before != after {
        let detail = format!("would change the sum of its balances from {before} to {after}");
        return Err(Rejection::new(Code::Conservation, "", detail));
    }
    Ok(())
}

fn no_licence() -> Rejection {
    invalid("payload.data.licence_id", "must be a licence of the market, but there is none")
}

fn invalid(member: &str, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::InvalidTransaction, member, detail)
}

const RESOURCES: &[(&str, Resource)] = &[
    ("cpu", Resource::Cpu),
    ("gpu", Resource::Gpu),
    ("memory", Resource::Memory),
    ("storage", Resource::Storage),
    ("bandwidth", Resource::Bandwidth),
    ("inference", Resource::Inference),
    ("consensus", Resource::Consensus),
];

impl Encode for Resource {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl Decode for Resource {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u8::decode(reader)?;
        let known = RESOURCES.iter().find(|(_, resource)| *resource as u8 == number);
        known
            .map(|(_, resource)| *resource)
            .ok_or(DecodeError::Invalid { what: "resource", value: number.into() })
    }
}

encode_fields!(Market { reserve, pool, dividend, undrawn, accounts, epoch });
encode_fields!(Account { balance, dividend });
encode_fields!(Licence {
    resource,
    quantity,
    holder,
    value,
    issued_at,
    taxed_at,
    expires_at,
    tax_debt,
});

/// One holder, in the list that encodes [`Holdings`] ascending by key.
struct Holding {
    holder: PublicKey,
    quantity: u64,
}

encode_fields!(Holding { holder, quantity });

impl Encode for Holdings {
    fn encode(&self, out: &mut Vec<u8>) {
        let list: Vec<Holding> = self
            .0
            .iter()
            .map(|(holder, quantity)| Holding { holder: *holder, quantity: *quantity })
            .collect();
        encode_list(&list, out);
    }
}

impl Decode for Holdings {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = |held: &Holding| held.holder;
        let list = reader.ascending("holdings", HOLDERS_MAX, 40, key)?;
        Ok(Self(list.into_iter().map(|held| (held.holder, held.quantity)).collect()))
    }
}

#[cfg(test)]
mod tests;
