use super::*;
use bizra_types::json::{Document, Limits};
use proptest::prelude::*;

const DAY_MS: u64 = 86_400_000;

/// A whole market: what execution keeps in entries, in maps.
#[derive(Clone, Debug, Default)]
struct World {
    market: Market,
    accounts: BTreeMap<PublicKey, Account>,
    licences: BTreeMap<Uuid, Licence>,
    holdings: BTreeMap<Resource, Holdings>,
}

/// The parameters of the design, with an endowment, so that there is something to trade with.
fn rules() -> LedgerParameters {
    LedgerParameters { market_endowment: 1_000, ..LedgerParameters::default() }
}

const fn agent(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

const fn licence(number: u8) -> Uuid {
    Uuid([number; 16])
}

impl World {
    fn act(
        &mut self,
        sender: u8,
        now_ms: u64,
        action: MarketAction,
        parameters: &LedgerParameters,
    ) -> Result<(), Rejection> {
        let sender = agent(sender);
        let known = action.licence_id().and_then(|id| self.licences.get(&id).copied());
        let parties = [Some(sender), known.map(|licence| licence.holder)];
        let mut books = Books {
            market: self.market,
            accounts: parties
                .into_iter()
                .flatten()
                .filter_map(|key| Some((key, *self.accounts.get(&key)?)))
                .collect(),
            licence: known,
            holdings: None,
        };
        let mut asked = None;
        let read = |resource| {
            asked = Some(resource);
            Ok::<_, Rejection>(self.holdings.get(&resource).cloned().unwrap_or_default())
        };
        action.execute(sender, TimestampMs::new(now_ms), &mut books, parameters, read)?;
        self.market = books.market;
        self.accounts.append(&mut books.accounts);
        if let Some(id) = action.licence_id() {
            match books.licence {
                Some(licence) => self.licences.insert(id, licence),
                None => self.licences.remove(&id),
            };
        }
        assert_eq!(asked.is_some(), books.holdings.is_some(), "what is read has changed");
        if let (Some(resource), Some(holdings)) = (asked, books.holdings) {
            self.holdings.insert(resource, holdings);
        }
        Ok(())
    }

    fn does(mut self, sender: u8, now_ms: u64, action: MarketAction) -> Self {
        self.act(sender, now_ms, action, &rules()).expect("allowed");
        self
    }

    fn refuses(&self, sender: u8, now_ms: u64, action: MarketAction) -> String {
        let refused = self.clone().act(sender, now_ms, action, &rules());
        refused.expect_err("not allowed").to_string()
    }

    fn total(&self) -> u64 {
        let balances: u64 = self.accounts.values().map(|account| account.balance).sum();
        self.market.reserve + self.market.pool + self.market.undrawn + balances
    }

    fn balance(&self, number: u8) -> u64 {
        self.accounts[&agent(number)].balance
    }
}

const fn issue(number: u8, quantity: u64, value: u64) -> MarketAction {
    let (licence_id, resource) = (licence(number), Resource::Gpu);
    MarketAction::Issue { licence_id, resource, quantity, value }
}

const fn buy(number: u8, price: u64, value: u64) -> MarketAction {
    MarketAction::Buy { licence_id: licence(number), price, value }
}

const fn assess(number: u8, value: u64) -> MarketAction {
    MarketAction::Assess { licence_id: licence(number), value }
}

const fn pay(number: u8) -> MarketAction {
    MarketAction::Pay { licence_id: licence(number) }
}

const fn release(number: u8) -> MarketAction {
    MarketAction::Release { licence_id: licence(number) }
}

/// Agents 1 and 2 in the market; 1 has licence 1 of 10 at 500.
fn two() -> World {
    World::default().does(1, 0, MarketAction::Join).does(2, 0, MarketAction::Join).does(
        1,
        0,
        issue(1, 10, 500),
    )
}

fn held(quantities: &[u64]) -> Holdings {
    let holders = (1..).map(agent).zip(quantities.iter().copied());
    Holdings(holders.collect())
}

#[test]
fn the_coefficients_of_the_design_come_out() {
    for (quantities, parts) in [
        (&[][..], 0),
        (&[7], 0),
        (&[7, 7, 7], 0),
        (&[1, 2, 3, 4], 250_000),
        (&[3, 1, 4, 2], 250_000),
        (&[1, 1, 1, 9], 500_000),
        (&[1, QUANTITY_MAX], 499_999),
    ] {
        assert_eq!(held(quantities).gini().parts_per_million(), parts, "{quantities:?}");
    }
    assert!(held(&[1, 2, 3, 4]).gini().is_above(249_999));
    assert!(!held(&[1, 2, 3, 4]).gini().is_above(250_000));
}

#[test]
fn joining_gives_the_endowment_once() {
    let mut poor = World::default();
    poor.act(1, 0, MarketAction::Join, &LedgerParameters::default()).expect("anyone may");
    assert_eq!(poor.balance(1), 0, "no faucet for fresh keys unless governance opens it");
    let world = two();
    assert_eq!((world.balance(1), world.balance(2)), (1_000, 1_000));
    assert_eq!(world.market.reserve, SUPPLY - 2_000);
    assert_eq!(
        world.refuses(1, 0, MarketAction::Join),
        "INVALID_TX: `sender.public_key` must have no account yet, but has one"
    );
    let mut poor = World {
        market: Market { reserve: 7, pool: SUPPLY - 7, ..Market::new() },
        ..World::default()
    };
    poor = poor.does(1, 0, MarketAction::Join).does(2, 0, MarketAction::Join);
    assert_eq!((poor.balance(1), poor.balance(2)), (7, 0));
}

#[test]
fn anyone_buys_at_the_declared_price_and_back_tax_comes_first() {
    // After a year 500 owe 35, and after the day until it expires it is there all the same.
    let world = two().does(2, TAX_PERIOD_MS, buy(1, 500, 800));
    assert_eq!((world.balance(1), world.balance(2)), (1_465, 500));
    // 35 of tax came in that epoch, after its share-out.
    assert_eq!(world.market.pool, 35);
    let bought = world.licences[&licence(1)];
    assert_eq!((bought.holder, bought.value, bought.tax_debt), (agent(2), 800, 0));
    assert_eq!(bought.issued_at.get(), 0);
    assert_eq!(bought.expires_at.get(), TAX_PERIOD_MS + LICENCE_MS);
    assert_eq!(world.holdings[&Resource::Gpu], Holdings([(agent(2), 10)].into()));
    assert_eq!(world.total(), SUPPLY);

    // Of a debt above the price nothing is left for the seller.
    let world = two().does(2, 20 * TAX_PERIOD_MS, buy(1, 500, 1));
    assert_eq!((world.balance(1), world.market.pool), (1_000, 500));
}

#[test]
fn a_sale_is_refused_before_anything_moves() {
    let world = two().does(2, 0, issue(2, 10, 100));
    for (sender, action, sentence) in [
        (
            2,
            buy(3, 1, 1),
            "INVALID_TX: `payload.data.licence_id` must be a licence of the market, but there is \
             none",
        ),
        (
            1,
            buy(1, 500, 1),
            "INVALID_TX: `payload.data.licence_id` must be held by another account, but is the \
             sender's own",
        ),
        (
            2,
            buy(1, 499, 1),
            "INVALID_TX: `payload.data.price` must be 500, the declared value, but is 499",
        ),
        (2, buy(1, 500, 0), "DUST: `payload.data.value` must be at least 1, but is 0"),
        (
            3,
            buy(1, 500, 1),
            "INVALID_TX: `sender.public_key` must have an account, but has not joined the market",
        ),
    ] {
        assert_eq!(world.refuses(sender, 0, action), sentence);
    }
    let dear = world.does(1, 0, assess(1, 1_001));
    assert_eq!(
        dear.refuses(2, 0, buy(1, 1_001, 1)),
        "NEGATIVE: `payload.data.price` costs 1001 credits, but the sender has 1000"
    );
}

#[test]
fn licences_are_issued_once_and_for_something() {
    let world = two();
    for (sender, action, sentence) in [
        (2, issue(1, 1, 1), "INVALID_TX: `payload.data.licence_id` must be new, but is taken"),
        (2, issue(2, 0, 1), "DUST: `payload.data.quantity` must be at least 1, but is 0"),
        (2, issue(2, 1, 0), "DUST: `payload.data.value` must be at least 1, but is 0"),
        (
            3,
            issue(2, 1, 1),
            "INVALID_TX: `sender.public_key` must have an account, but has not joined the market",
        ),
    ] {
        assert_eq!(world.refuses(sender, 0, action), sentence);
    }
}

#[test]
fn a_licence_obeys_its_holder_alone() {
    let world = two();
    for action in [assess(1, 5), pay(1)] {
        assert_eq!(
            world.refuses(2, 0, action),
            "INVALID_TX: `payload.data.licence_id` must be a licence of the sender, but is held \
             by another"
        );
    }
    assert_eq!(
        world.refuses(2, DAY_MS - 1, release(1)),
        "INVALID_TX: `payload.data.licence_id` must be a licence of the sender or have expired, \
         but is held by another until 86400000"
    );
    for action in [assess(9, 5), pay(9), release(9)] {
        assert!(world.refuses(1, 0, action).contains("but there is none"));
    }
    assert_eq!(
        world.refuses(1, 0, assess(1, 0)),
        "DUST: `payload.data.value` must be at least 1, but is 0"
    );
}

#[test]
fn tax_is_paid_in_whole_credits_and_the_rest_stays_owed() {
    // 500 at 7 % owe 95,890 millionths a day.
    let world = two().does(1, DAY_MS, pay(1));
    assert_eq!(world.balance(1), 1_000);
    let paid = world.licences[&licence(1)];
    assert_eq!((paid.tax_debt, paid.expires_at.get()), (95_890, 2 * DAY_MS));
    assert!(!paid.has_expired(TimestampMs::new(2 * DAY_MS - 1)));
    assert!(paid.has_expired(TimestampMs::new(2 * DAY_MS)));

    // Paying every day costs what paying once does, but for what is cut off each time.
    let often = (2..=365).fold(world, |world, day| world.does(1, day * DAY_MS, pay(1)));
    let once = two().does(1, 365 * DAY_MS, pay(1));
    let all = |world: &World| (SUPPLY - world.market.reserve, world.licences[&licence(1)].tax_debt);
    assert_eq!(once.licences[&licence(1)].tax_debt, 0);
    assert_eq!(all(&often).0, 2_000);
    let paid_often = 34 * MILLION + all(&often).1;
    assert!((35 * MILLION - 365..=35 * MILLION).contains(&paid_often), "{paid_often}");

    // The old value is taxed up to the new one, and paid before it is gone: else its holder would
    // declare 1, and the next buyer's price would pay 1.
    let world = two().does(1, TAX_PERIOD_MS, assess(1, 1_000));
    assert_eq!((world.licences[&licence(1)].tax_debt, world.market.pool), (0, 35));
    let world = world.does(1, 2 * TAX_PERIOD_MS, release(1));
    // 17 each of the first 35 were shared out.
    assert_eq!((world.market.pool, world.market.undrawn), (71, 17));
    assert!(world.licences.is_empty());
    assert_eq!(world.holdings[&Resource::Gpu], Holdings::default());
    assert_eq!(world.total(), SUPPLY);
}

#[test]
fn who_cannot_pay_loses_the_licence_when_it_expires() {
    let world = two().does(1, 0, assess(1, SUPPLY));
    assert_eq!(
        world.refuses(1, DAY_MS - 1, release(1)),
        "NEGATIVE: `payload.data.licence_id` costs 191780820 credits, but the sender has 1000"
    );
    for action in [pay(1), assess(1, 1)] {
        assert_eq!(
            world.refuses(1, TAX_PERIOD_MS, action),
            "NEGATIVE: `payload.data.licence_id` costs 70000000000 credits, but the sender has \
             1000"
        );
    }
    // Anyone ends it then, also without an account, and the holder pays what there is. A debt
    // beyond all numbers is none the less a debt.
    for now_ms in [DAY_MS, TAX_PERIOD_MS, u64::MAX] {
        let ended = world.clone().does(9, now_ms, release(1));
        assert!(ended.licences.is_empty());
        assert_eq!(ended.holdings[&Resource::Gpu], Holdings::default());
        assert_eq!((ended.balance(1), ended.market.pool), (0, 1_000));
        assert_eq!(ended.total(), SUPPLY);
    }
    // Whoever can pay does.
    let ended = two().does(2, TAX_PERIOD_MS, release(1));
    assert_eq!((ended.balance(1), ended.market.pool), (965, 35));
}

#[test]
fn a_changed_length_of_epochs_does_not_stop_the_sharing_out() {
    let world = two().does(1, TAX_PERIOD_MS, pay(1));
    assert_eq!(world.market.pool, 35);
    // Ten times as long: the number of the epoch is lower than before.
    let longer = LedgerParameters { governance_epoch_ms: 10 * DAY_MS, ..rules() };
    let mut world = world;
    world.act(3, TAX_PERIOD_MS + 1, MarketAction::Join, &longer).expect("anyone may");
    assert_eq!((world.market.epoch, world.market.pool, world.market.dividend), (36, 1, 17));
}

#[test]
fn the_pool_is_shared_out_once_an_epoch() {
    let world = two().does(1, TAX_PERIOD_MS, assess(1, 500)).does(1, TAX_PERIOD_MS, pay(1));
    assert_eq!((world.market.pool, world.market.dividend), (35, 0));
    // The same epoch: nothing. The next: 17 for each, and 1 stays. A newcomer has no part in it.
    let world = world.does(3, TAX_PERIOD_MS + 1, MarketAction::Join);
    assert_eq!(world.market.dividend, 0);
    let world = world.does(4, TAX_PERIOD_MS + DAY_MS, MarketAction::Join);
    assert_eq!((world.market.pool, world.market.dividend, world.market.undrawn), (2, 11, 33));
    let world = world.does(2, TAX_PERIOD_MS + DAY_MS, issue(2, 10, 1));
    assert_eq!((world.balance(2), world.market.undrawn), (1_011, 22));
    let world = world.does(4, TAX_PERIOD_MS + DAY_MS, issue(4, 10, 1));
    assert_eq!(world.balance(4), 1_000);
    assert_eq!(world.total(), SUPPLY);
}

#[test]
fn an_acquisition_must_not_make_holdings_too_unequal() {
    // 10 and 2: Gini 1/3; 11 and 2: 9/26, still below; 12 and 2: 5/14.
    let world = two().does(2, 0, issue(2, 2, 1));
    let _ = world.clone().does(1, 0, issue(3, 1, 1));
    assert_eq!(
        world.refuses(1, 0, issue(3, 2, 1)),
        "GINI: `payload.data.licence_id` would bring the Gini coefficient of the resource to \
         357142 parts per million, where at most 350000 are allowed to whoever has more than the \
         mean"
    );
    // Where it is above the limit already, whatever lowers it is allowed.
    let lax = LedgerParameters { gini_max_ppm: 1_000_000, ..rules() };
    let mut unequal = world;
    unequal.act(1, 0, issue(3, 90, 100), &lax).expect("no limit");
    assert!(unequal.refuses(1, 0, issue(4, 1, 1)).starts_with("GINI"));
    // 12 and 90 for 100 and 2.
    let _ = unequal.does(2, 0, buy(1, 500, 1));
}

#[test]
fn whoever_has_little_is_not_refused_because_others_have_much() {
    // 10 and 1: Gini 9/22, which the first holder has brought about and not the second.
    let world = two().does(2, 0, issue(2, 1, 1));
    let world = world.does(3, 0, MarketAction::Join).does(3, 0, issue(3, 1, 1));
    // 10, 1 and 1 grow towards each other: 12 in all are a mean of 4, 15 one of 5.
    let world = world.does(2, 0, issue(4, 3, 1)).does(3, 0, issue(5, 3, 1));
    // And so may a buyer who stays below the mean.
    let _ = world.does(3, 0, buy(2, 1, 1));
}

#[test]
fn one_holder_alone_is_a_monopoly_and_no_equality() {
    let alone = two().does(1, 0, issue(2, 990, 100));
    assert_eq!(
        alone.refuses(1, 0, issue(3, 1, 1)),
        "GINI: `payload.data.licence_id` would leave all 1001 units of the resource to one holder, \
         who may have 1000 alone"
    );
    // Nor does it become one by buying the others out.
    let (first, second) = (issue(2, 700, 100), issue(3, 700, 100));
    let both = two().does(1, 0, release(1)).does(1, 0, first).does(2, 0, second);
    assert!(both.refuses(2, 0, buy(2, 100, 1)).contains("all 1400 units"));
    // But what the one holder has can change hands.
    let larger = both.does(1, 0, release(2)).does(2, 0, issue(4, 300, 100));
    let lax = LedgerParameters { market_sole_units_max: 2_000, ..rules() };
    let mut larger = larger.does(2, 0, release(4));
    larger.act(2, 0, issue(5, 800, 100), &lax).expect("a higher limit");
    let single = larger.does(2, 0, release(3));
    assert_eq!(single.does(1, 0, buy(5, 100, 1)).holdings[&Resource::Gpu].0.len(), 1);
}

#[test]
fn holders_are_bounded() {
    let mut world = two();
    let holders = (0..HOLDERS_MAX).map(|at| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&u16::try_from(at).expect("few").to_be_bytes());
        (PublicKey(key), 10)
    });
    world.holdings.insert(Resource::Gpu, Holdings(holders.collect()));
    assert_eq!(
        world.refuses(2, 0, issue(2, 10, 1)),
        "INVALID_TX: `payload.data.licence_id` is of a resource that 1024 accounts hold already"
    );
    // They do not block it for ever: what has expired makes room, whoever its holder is.
    let holder = world.licences[&licence(1)].holder;
    world.holdings.get_mut(&Resource::Gpu).expect("held").0.remove(&PublicKey([0; 32]));
    world.holdings.get_mut(&Resource::Gpu).expect("held").0.insert(holder, 10);
    let _ = world.clone().does(2, DAY_MS, release(1)).does(2, DAY_MS, issue(2, 10, 1));
    let crowd = Holdings([(agent(1), HOLDINGS_MAX / 2), (agent(2), HOLDINGS_MAX / 2)].into());
    let mut full = world.clone();
    full.holdings.insert(Resource::Gpu, crowd);
    assert_eq!(
        full.refuses(2, 0, issue(2, 1, 1)),
        "INVALID_TX: `payload.data.quantity` would make 1125899906842625 units, where at most \
         1125899906842624 are allowed"
    );
    let holdings = &world.holdings[&Resource::Gpu];
    assert_eq!(Holdings::from_bytes(&holdings.to_bytes()).as_ref(), Ok(holdings));
}

#[test]
fn holdings_have_one_encoding() {
    let holding = |byte: u8| Holding { holder: PublicKey([byte; 32]), quantity: 10 };
    let read = |holders: &[u8]| {
        let mut bytes = Vec::new();
        encode_list(&holders.iter().map(|byte| holding(*byte)).collect::<Vec<_>>(), &mut bytes);
        Holdings::from_bytes(&bytes).map(|holdings| holdings.0.len())
    };
    let error = Err(DecodeError::Unordered("holdings"));
    assert_eq!((read(&[1, 2]), read(&[2, 1]), read(&[1, 1])), (Ok(2), error, error));
}

#[test]
fn credits_that_appear_or_vanish_are_refused() {
    assert_eq!(check_conserved(5, 5), Ok(()));
    for after in [4, 6] {
        let rejection = check_conserved(5, after).expect_err("not the same");
        assert_eq!(
            rejection.to_string(),
            format!(
                "CONSERVATION: the record would change the sum of its balances from 5 to {after}"
            )
        );
    }
}

#[test]
fn the_schema_of_each_action_is_closed() {
    let id = r#""licence_id":"123e4567-e89b-42d3-a456-426614174000""#;
    let read = |action: &str, data: &str| {
        let data = Document::parse(data.as_bytes(), Limits::ENVELOPE).expect("strict JSON");
        MarketAction::read(action, &data.root())
            .map(|result| result.map_err(|error| error.to_string()))
    };
    let issue = format!(r#"{{{id},"resource":"cpu","quantity":1,"value":2}}"#);
    let buy = format!(r#"{{{id},"price":3,"value":2}}"#);
    let assess = format!(r#"{{{id},"value":2}}"#);
    let bare = format!("{{{id}}}");
    for (action, data) in [
        ("market/join", "{}"),
        ("market/issue", &issue),
        ("market/buy", &buy),
        ("market/assess", &assess),
        ("market/pay", &bare),
        ("market/release", &bare),
    ] {
        let good = read(action, data).expect("an action").expect("the form is right");
        assert_eq!(good.licence_id().is_some(), action != "market/join");
        let more = data.replacen('{', r#"{"note":1,"#, 1).replace(",}", "}");
        let error = read(action, &more).expect("an action").expect_err("an unknown member");
        assert!(error.contains("`note` is an unknown member"), "{error}");
        for member in ["licence_id", "resource", "quantity", "price", "value"] {
            if !data.contains(member) {
                continue;
            }
            let other = data.replace(&format!("\"{member}\""), &format!("\"x{member}\""));
            let error = read(action, &other).expect("an action").expect_err("a missing member");
            assert_eq!(error, format!("`{member}` is missing"), "{action}");
        }
    }
    for (data, message) in [
        (issue.replace("42d3", "12d3"), "`licence_id` must be a UUID of version 4"),
        (issue.replace("cpu", "air"), "`resource` must be \"cpu\" or"),
        (issue.replace("\"quantity\":1", "\"quantity\":1000000001"), "from 0 to 1000000000"),
        (issue.replace("\"value\":2", "\"value\":1000000000001"), "from 0 to 1000000000000"),
        (issue.replace("\"value\":2", "\"value\":1.5"), "`value` must be an integer"),
    ] {
        let error = read("market/issue", &data).expect("an action").expect_err(message);
        assert!(error.contains(message), "{error} lacks {message}");
    }
    for name in ["market/", "market/steal", "market", "session/close"] {
        assert_eq!(read(name, "{}"), None, "{name}");
    }
}

/// The rules in another arithmetic: every account is credited at once when the pool is shared
/// out, tax is kept as an exact fraction of a credit, and the Gini coefficient is the sum over
/// all pairs.
#[derive(Clone, Default)]
struct Model {
    reserve: u64,
    pool: u64,
    epoch: u64,
    balances: BTreeMap<u8, u64>,
    /// Holder, quantity, value, last taxed, millionths owed.
    licences: BTreeMap<u8, (u8, u64, u64, u64, u64)>,
    expiries: BTreeMap<u8, u64>,
}

impl Model {
    fn act(&mut self, sender: u8, now: u64, action: MarketAction) -> Result<(), Code> {
        let mut next = self.clone();
        next.change(sender, now, action)?;
        *self = next;
        Ok(())
    }

    fn change(&mut self, sender: u8, now: u64, action: MarketAction) -> Result<(), Code> {
        if now / DAY_MS > self.epoch {
            self.epoch = now / DAY_MS;
            let count = self.balances.len() as u64;
            let share = self.pool / count.max(1);
            self.pool -= share * count;
            self.balances.values_mut().for_each(|balance| *balance += share);
        }
        let id = action.licence_id().map(|id| id.0[0]);
        let joined = self.balances.contains_key(&sender);
        match action {
            MarketAction::Join => {
                if joined {
                    return Err(Code::InvalidTransaction);
                }
                let endowment = self.reserve.min(1_000);
                self.reserve -= endowment;
                self.balances.insert(sender, endowment);
            }
            MarketAction::Issue { quantity, value, .. } => {
                let id = id.expect("it names one");
                if !joined {
                    return Err(Code::InvalidTransaction);
                }
                if quantity == 0 || value == 0 {
                    return Err(Code::Dust);
                }
                if self.licences.contains_key(&id) {
                    return Err(Code::InvalidTransaction);
                }
                let before = self.clone();
                self.licences.insert(id, (sender, quantity, value, now, 0));
                self.expiries.insert(id, now + DAY_MS);
                self.check_gini(sender, &before)?;
            }
            MarketAction::Buy { price, value, .. } => {
                if value == 0 {
                    return Err(Code::Dust);
                }
                let known = self.licences.get(&id.expect("it names one")).copied();
                let (seller, quantity, declared, taxed, debt) =
                    known.ok_or(Code::InvalidTransaction)?;
                if seller == sender || price != declared || !joined {
                    return Err(Code::InvalidTransaction);
                }
                let balance = self.balances[&sender];
                if balance < price {
                    return Err(Code::Negative);
                }
                self.balances.insert(sender, balance - price);
                let before = self.clone();
                let id = id.expect("it names one");
                self.licences.insert(id, (sender, quantity, value, now, 0));
                self.expiries.insert(id, now + DAY_MS);
                self.check_gini(sender, &before)?;
                let owed = debt + Self::tax(declared, now - taxed);
                let tax = owed.div_ceil(1_000_000).min(price);
                self.pool += tax;
                *self.balances.get_mut(&seller).expect("sellers have joined") += price - tax;
            }
            MarketAction::Assess { .. }
            | MarketAction::Pay { .. }
            | MarketAction::Release { .. } => {
                if matches!(action, MarketAction::Assess { value: 0, .. }) {
                    return Err(Code::Dust);
                }
                let id = id.expect("it names one");
                let is_release = matches!(action, MarketAction::Release { .. });
                let licence = self.licences.get_mut(&id).ok_or(Code::InvalidTransaction)?;
                let has_expired = is_release && now >= self.expiries[&id];
                if licence.0 != sender && !has_expired {
                    return Err(Code::InvalidTransaction);
                }
                licence.4 += Self::tax(licence.2, now - licence.3);
                licence.3 = now;
                let balance = self.balances.get_mut(&licence.0).expect("holders have joined");
                let due = match (is_release, has_expired) {
                    (false, _) => licence.4 / 1_000_000,
                    (true, false) => licence.4.div_ceil(1_000_000),
                    (true, true) => licence.4.div_ceil(1_000_000).min(*balance),
                };
                licence.4 = licence.4.saturating_sub(due * 1_000_000);
                *balance = balance.checked_sub(due).ok_or(Code::Negative)?;
                self.pool += due;
                match action {
                    MarketAction::Assess { value, .. } => licence.2 = value,
                    MarketAction::Release { .. } => drop(self.licences.remove(&id)),
                    _ => drop(self.expiries.insert(id, now + DAY_MS)),
                }
            }
        }
        Ok(())
    }

    fn tax(value: u64, elapsed: u64) -> u64 {
        let millionths = u128::from(value) * 70_000 * u128::from(elapsed) / (365 * 86_400_000);
        u64::try_from(millionths).expect("small values")
    }

    fn held(&self) -> BTreeMap<u8, u128> {
        let mut held: BTreeMap<u8, u128> = BTreeMap::new();
        for (holder, quantity, ..) in self.licences.values() {
            *held.entry(*holder).or_default() += u128::from(*quantity);
        }
        held
    }

    /// Sum of the differences of all pairs, and the count of holders times all they hold.
    fn gini(&self) -> (u128, u128) {
        let held: Vec<u128> = self.held().into_values().collect();
        let pairs = held.iter().flat_map(|left| held.iter().map(|right| left.abs_diff(*right)));
        (pairs.sum::<u128>() / 2, (held.len() as u128 * held.iter().sum::<u128>()).max(1))
    }

    fn check_gini(&self, acquirer: u8, before: &Self) -> Result<(), Code> {
        let held = self.held();
        let (own, all) = (held[&acquirer], held.values().sum::<u128>());
        let is_refused = if held.len() == 1 {
            let known = before.held();
            own > 20 && !(known.len() == 1 && known.values().all(|quantity| *quantity >= own))
        } else {
            let ((above, below), before) = (self.gini(), before.gini());
            let is_lower = above * before.1 < before.0 * below;
            own * held.len() as u128 > all && above * 100 > 35 * below && !is_lower
        };
        if is_refused { Err(Code::Gini) } else { Ok(()) }
    }
}

fn any_action() -> impl Strategy<Value = MarketAction> {
    let id = (1u8..6).prop_map(licence);
    let value = prop_oneof![Just(0u64), 1u64..40, 1u64..1_200];
    prop_oneof![
        1 => Just(MarketAction::Join),
        3 => (id.clone(), 0u64..12, value.clone()).prop_map(|(licence_id, quantity, value)| {
            MarketAction::Issue { licence_id, resource: Resource::Gpu, quantity, value }
        }),
        3 => (id.clone(), 0u64..40, value.clone())
            .prop_map(|(licence_id, price, value)| MarketAction::Buy { licence_id, price, value }),
        1 => (id.clone(), value)
            .prop_map(|(licence_id, value)| MarketAction::Assess { licence_id, value }),
        1 => id.clone().prop_map(|licence_id| MarketAction::Pay { licence_id }),
        1 => id.prop_map(|licence_id| MarketAction::Release { licence_id }),
    ]
}

proptest! {
    #[test]
    fn credits_are_conserved_and_the_model_agrees(
        reserve in prop_oneof![Just(SUPPLY), 0u64..3_000],
        steps in prop::collection::vec(
            (1u8..7, any_action(), any::<bool>(), prop_oneof![Just(0u64), 0..DAY_MS, 0..90 * DAY_MS]),
            1..80
        ),
    ) {
        let mut world = World {
            market: Market { reserve, pool: SUPPLY - reserve, ..Market::new() },
            ..World::default()
        };
        let mut model = Model { reserve, pool: SUPPLY - reserve, ..Model::default() };
        let mut now = 0;
        for (sender, mut action, fair, elapsed) in steps {
            now += elapsed;
            if let MarketAction::Buy { licence_id, price, .. } = &mut action
                && let Some(known) = world.licences.get(licence_id)
                && fair
            {
                *price = known.value;
            }
            let parameters = LedgerParameters { market_sole_units_max: 20, ..rules() };
            let result = world.act(sender, now, action, &parameters);
            let expected = model.act(sender, now, action);
            prop_assert_eq!(result.map_err(|rejection| rejection.code), expected);
            prop_assert_eq!(world.total(), SUPPLY);
            prop_assert_eq!(world.market.pool, model.pool);
            prop_assert_eq!(world.market.reserve, model.reserve);
            for (number, balance) in &model.balances {
                let account = world.accounts[&agent(*number)];
                let due = world.market.dividend - account.dividend;
                prop_assert_eq!(account.balance + due, *balance);
            }
            prop_assert_eq!(world.licences.len(), model.licences.len());
            for (number, (holder, quantity, value, _, debt)) in &model.licences {
                let known = world.licences[&licence(*number)];
                prop_assert_eq!(
                    (known.holder, known.quantity, known.value, known.tax_debt),
                    (agent(*holder), *quantity, *value, *debt)
                );
                prop_assert_eq!(Licence::from_bytes(&known.to_bytes()), Ok(known));
            }
        }
    }
}
